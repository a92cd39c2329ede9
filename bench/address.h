/* address.h: the sockets of the programs that measure. "ADDR:PORT" (IPv4) or "unix:PATH"; deliberately nothing of src/, so that a mistake there
 * cannot measure itself. All sockets are non-blocking and close on exec. Errors: -1 and errno. */
#ifndef TARRY_BENCH_ADDRESS_H
#define TARRY_BENCH_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_un un;
};

/* Returns the address's length, 0: not one. */
socklen_t address_parse(union address *out, const char *text);
int address_listen(const char *text, bool shared);
/* A connection that is made or on its way. */
int address_connect(const char *text);

#endif
