/* deskwire.h: what passes between the parent and tarry-desk. */
#ifndef TARRY_CORE_DESKWIRE_H
#define TARRY_CORE_DESKWIRE_H

#define DESKWIRE_MEMORY (512 * 1024) /* bytes that the parent keeps for a desk; those it does not use cost nothing */
#define DESKWIRE_SETUP (64 * 1024)   /* of the setup at most */
#define DESKWIRE_WORD_LISTEN 'L'     /* in the channel, with the listening socket */

#endif
