/* worker.h: a process tarry-tls: takes the orders of fronts, and the parent's words about certificates, backends and tickets. One event loop, nothing in it blocks. */
#ifndef TARRY_TLS_WORKER_H
#define TARRY_TLS_WORKER_H

#include "core/loop.h"
#include "tls/client.h"
#include "tls/context.h"
#include "tls/peers.h"

#define WORKER_CLIENTS 100000        /* deadlines the loop has room for, two for each client; the descriptors are fewer anyway */
#define WORKER_SPARE 16              /* descriptors that are not for clients */
#define WORKER_END (LOOP_SECOND)     /* after the parent's end: for the last words of the fronts */

struct worker {
	struct loop loop; /* first: callbacks find the worker by it */
	struct source orders, parent;
	struct clients clients;
	struct context_files files;
	SSL_CTX *context; /* NULL: no clients are taken */
	struct peers peers; /* to be filled after worker_init() */
	int64_t timeout;
	size_t nofile;
	int orders_fd;
	bool ending;
};

/* 0 or -errno. The context (NULL: TLS of clients does not end here) and the descriptors are the worker's from now on. */
int worker_init(struct worker *worker, SSL_CTX *context, const struct context_files *files, int orders, int parent, int64_t timeout);
/* Until the parent ends. 0 or -errno. */
int worker_run(struct worker *worker);
void worker_fini(struct worker *worker);

#endif
