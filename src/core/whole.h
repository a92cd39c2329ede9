/* whole.h: write(2), and not a part of it. For files, pipes and sockets that may be waited for: it blocks. */
#ifndef TARRY_CORE_WHOLE_H
#define TARRY_CORE_WHOLE_H

#include <stddef.h>

/* All of the bytes, whatever signal comes between. 0 or -errno: some of them may be written. */
int whole_write(int fd, const void *bytes, size_t len);

#endif
