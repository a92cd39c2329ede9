/* The tour, gate: messages on their way. Text is taken apart by the rules of data.c and put together again, so that the backend sees a canonical
 * form of what the door has understood, and one end. Chunks are counted and not looked at. What is refused or thrown away is read all the same, up to its
 * end, and then answered. */
#include "gate/watch_inside.h"

#include "smtp/reply.h"

#define TEXT_PIECE 4096 /* bytes taken at once */
#define TEXT_END 3      /* the dot, and its line end */

void watch_text_put_off(struct watch *w)
{
	buf_clear(&w->verdict);
	if (!buf_put_slice(&w->verdict, watch_queue_unclaimed(&w->queue)))
		watch_fail(w, "out of memory");
	watch_queue_drop_unclaimed(&w->queue);
}

static void pronounce(struct watch *w)
{
	buf_put_slice(&w->queue.answers, buf_slice(&w->verdict)); /* if it does not fit, it is a 451 */
	buf_fini(&w->verdict);
	watch_answer(w);
}

void watch_text_begin(struct watch *w, bool swallow)
{
	w->state = WATCH_TEXT;
	w->swallow = swallow;
	w->line_start = true;
	data_init(&w->data, !w->crlf);
	w->plain = w->as_it_is && w->crlf && !swallow; /* a client whose line ends are LF has text that few backends would see the end of */
}

/* Its end has been seen, and whatever comes of it, so has the transaction's (RFC 5321 4.1.1.4). For the text that went to the backend the reply is owed
 * since it began. */
static void end_text(struct watch *w)
{
	w->state = WATCH_COMMANDS;
	if (w->swallow)
		pronounce(w);
	else if (!w->plain && !buf_put_text(&w->to_backend, ".\r\n"))
		watch_fail(w, "out of memory");
	watch_stage_end(w, !w->swallow, true);
	watch_forget(w);
}

/* As it came: only its end is looked for. */
static bool take_plain(struct watch *w, struct slice *in)
{
	size_t room = WATCH_HELD - w->to_backend.len, n = in->len < room ? in->len : room;
	if (n == 0)
		return false;
	n = data_take(&w->data, (struct slice){ in->at, n }, NULL);
	if (!buf_put(&w->to_backend, in->at, n))
		watch_fail(w, "out of memory");
	in->at += n;
	in->len -= n;
	if (w->data.state == DATA_END)
		end_text(w);
	return true;
}

bool watch_text_take(struct watch *w, struct slice *in)
{
	if (w->plain)
		return take_plain(w, in);
	char memory[TEXT_PIECE + DATA_SLACK];
	struct buf text;
	size_t room = WATCH_HELD - w->to_backend.len, most = TEXT_PIECE;
	if (!w->swallow && room < DATA_STUFFED * (TEXT_PIECE + DATA_SLACK) + TEXT_END)
		most = room > DATA_STUFFED * DATA_SLACK + TEXT_END ? (room - TEXT_END) / DATA_STUFFED - DATA_SLACK : 0;
	size_t n = in->len < most ? in->len : most;
	if (n == 0)
		return false;
	buf_init_fixed(&text, memory, sizeof(memory));
	n = data_take(&w->data, (struct slice){ in->at, n }, &text);
	in->at += n;
	in->len -= n;
	if (!w->swallow && !data_stuff(&w->line_start, buf_slice(&text), &w->to_backend))
		watch_fail(w, "out of memory");
	else if (w->data.state == DATA_END)
		end_text(w);
	return true;
}

static void end_chunk(struct watch *w)
{
	w->state = WATCH_COMMANDS;
	bool discarded = w->mail == WATCH_MAIL_DISCARDED;
	if (w->swallow && discarded && !w->chunk_last) {
		reply_put(&w->queue.answers, 250, "2.0.0", "Chunk received");
		watch_answer(w);
	} else if (w->swallow) {
		pronounce(w);
	}
	watch_stage_end(w, !w->swallow, w->chunk_last);
	if (w->chunk_last && (discarded || !w->swallow))
		watch_forget(w);
}

void watch_text_begin_chunk(struct watch *w, uint64_t size, bool last, bool swallow)
{
	w->state = WATCH_CHUNK;
	w->swallow = swallow;
	w->chunk = size;
	w->chunk_last = last;
	if (size == 0)
		end_chunk(w);
}

bool watch_text_take_chunk(struct watch *w, struct slice *in)
{
	size_t n = in->len < w->chunk ? in->len : (size_t)w->chunk;
	size_t room = WATCH_HELD - w->to_backend.len;
	if (!w->swallow && n > room)
		n = room;
	if (n == 0)
		return false;
	if (!w->swallow && !buf_put(&w->to_backend, in->at, n)) {
		watch_fail(w, "out of memory");
		return true;
	}
	in->at += n;
	in->len -= n;
	w->chunk -= n;
	if (w->chunk == 0)
		end_chunk(w);
	return true;
}
