/* The tour, gate: what comes before the pause. Two states, for the clients that need them: TLS, where that comes first, and ASK, where how long a client waits depends on what
 * is asked about it. The pause begins when the handshake is done, and with the questions, not with their answers. */
#include "gate/before.h"

#include <errno.h>
#include <sys/epoll.h>

#include "core/metrics.h"
#include "core/sock.h"
#include "gate/admit.h"
#include "gate/ask.h"
#include "gate/front.h"
#include "gate/seal.h"
#include "gate/session.h"
#include "gate/study.h"

#define TLS_RETRY (20 * LOOP_MS) /* to hand a client over to tarry-tls, at first; then after as long as it has waited, */
#define TLS_RETRY_MOST (250 * LOOP_MS) /* up to this */

/* ---- tls ---- */

enum conn_event before_tls(struct front *front, struct conn *conn)
{
	return before_tls_due(front, conn);
}

/* Also while it could not be handed over: then it is tried again. tarry-tls gives up in time, and says so; the second more is for one that does not. */
enum conn_event before_tls_due(struct front *front, struct conn *conn)
{
	const struct seal *seal = seal_of(front, conn);
	int64_t now = loop_now(&front->loop), most = front->conf->tls_timeout + LOOP_SECOND, waited = seal ? now - seal->begun : 0;
	if (waited >= most)
		return CONN_TIME;
	enum seal_start started = seal && seal->sent ? SEAL_SENT : seal_start(front, conn, false);
	if (started == SEAL_FAILED)
		return CONN_ENDED;
	int64_t wait = started == SEAL_SENT ? most - waited : waited < TLS_RETRY ? TLS_RETRY : waited < TLS_RETRY_MOST ? waited : TLS_RETRY_MOST;
	loop_set_due(&front->loop, &conn->source, now + (wait < most - waited ? wait : most - waited));
	return CONN_NOTHING;
}

/* The pause begins here: what came before was not the client's turn to talk, it was TLS's. What came behind the handshake in the same breath is looked at at once. */
enum conn_event before_tls_ready(struct front *front, struct conn *conn, uint32_t events)
{
	(void)events;
	enum seal_read read = seal_of(front, conn) ? seal_read(front, conn) : SEAL_MORE;
	if (read != SEAL_DONE)
		return read == SEAL_MORE ? CONN_NOTHING : CONN_HANGUP;
	conn_meet(front, conn);
	if (conn->state == CONN_ASK)
		return before_ask_ready(front, conn, EPOLLIN);
	return conn->state == CONN_HOLD ? conn_take_talk(front, conn) : CONN_NOTHING;
}

/* ---- ask ---- */

/* No deadline until maps are asked: each question has its own. */
enum conn_event before_ask(struct front *front, struct conn *conn)
{
	(void)front;
	(void)conn;
	return CONN_NOTHING;
}

/* Whether it may talk is not known yet: what it says stays where it is. */
enum conn_event before_ask_ready(struct front *front, struct conn *conn, uint32_t events)
{
	char byte;
	(void)events;
	ssize_t n = sock_peek(conn->source.fd, &byte, 1);
	if (n > 0 && conn->ask->talked_at == 0)
		conn->ask->talked_at = loop_now(&front->loop);
	return n > 0 || n == -EAGAIN ? CONN_NOTHING : CONN_HANGUP;
}

/* A client of whom something is still asked: how long it waits at least, as far as that is known, and maps that are answering get their lookup_wait. */
void before_asked_maps(struct front *front, struct conn *conn)
{
	int64_t greet = conn->ask->accepted + admit_wait(admit_client(front, conn)), wait = loop_now(&front->loop) + front->conf->lookup_wait;
	loop_set_due(&front->loop, &conn->source, greet > wait ? greet : wait);
}

/* A map that takes its time, or hangs, makes no greeting late: the pause is as the others have it, and what there is to be refused is told to its commands, which wait for the answer. */
enum conn_event before_ask_due(struct front *front, struct conn *conn)
{
	struct admit a = admit_client(front, conn);
	conn->ask->late = true;
	study_begin(conn, &a);
	conn->exempt = a.exempt;
	conn->known = a.known;
	conn->observe = conn->observe || a.observe;
	metrics_add(METRIC_answers_late, 1);
	int64_t greet = conn->ask->accepted + admit_wait(a); /* one that has answered meanwhile may want a longer one */
	return before_said(front, conn, greet > loop_now(&front->loop) ? CONN_ACCEPTED : CONN_ADMITTED);
}

enum conn_event before_said(struct front *front, struct conn *conn, enum conn_event event)
{
	bool may_wait = event == CONN_ACCEPTED || event == CONN_ADMITTED;
	enum conn_event said = may_wait && conn->pause_ms > 0 && (*session_ask(conn))->talked_at > 0 ? conn_take_talk(front, conn) : CONN_NOTHING;
	return said == CONN_NOTHING ? event : said;
}
