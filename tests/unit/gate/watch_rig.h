/* watch_rig.h: a watch between two hands: say what the client says, reply what the backend replies, and compare what comes out on both sides. */
#ifndef TARRY_TEST_WATCH_RIG_H
#define TARRY_TEST_WATCH_RIG_H

#include "gate/watch.h"
#include "watch_model.h"

#define RIG_MOST (256 * 1024)

extern struct watch rig;             /* the watch */
extern struct model_rules rig_rules; /* its rules' memory */
extern enum watch_result rig_result;

void rig_begin(enum watch_tls tls);
/* And with these rules in place of the model's. */
void rig_begin_with(const struct watch_rules *rules);
/* With stages, which the client must keep to from its greeting on; text is passed as it is. */
void rig_begin_staged(const struct stages *stages);
void rig_end(void);
/* Past the greeting and an EHLO that offers PIPELINING and CHUNKING. */
void rig_greet(void);

void rig_say(const char *text);
void rig_say_bytes(const char *at, size_t len);
void rig_client_ends(void);
void rig_reply(const char *text);
void rig_backend_ends(void);
void rig_decide(void);
/* The time of a pause has passed. What has none goes on by itself. */
void rig_go_on(void);
/* From now on, nobody reads what is written to the client; or somebody does so again. */
void rig_block_client(bool block);

/* All that has come out since the last time: to the backend, to the client. */
void rig_expect(const char *backend, const char *client);
void rig_expect_bytes(struct slice backend, struct slice client);

#endif
