/* Fuzz target: a log that anybody has written. Whatever it says: what is taken out of a line lies within it, the sums agree with each other, what is printed is printable, and the times
 * are those of a calendar. The first line is what is typed behind --since. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tool/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW 1796040000
#define LATEST 253402387200 /* the end of the year 9999, and a day */

static void check_within(struct slice part, struct slice whole)
{
	check(part.len == 0 || (part.at >= whole.at && part.at + part.len <= whole.at + whole.len));
}

static void check_line(const struct report_line *l, struct slice line)
{
	check_within(l->before, line);
	check_within(l->text, line);
	check_within(l->name, l->text);
	check_within(l->stage, l->text);
	check_within(l->kind, l->text);
	check_within(l->reason, l->text);
	check_within(l->reply, l->text);
	check_within(l->verdict, l->text);
	check_within(l->after_ms, l->text);
	check_within(l->talked_ms, l->text);
	check_within(l->would_after_ms, l->text);
	check_within(l->pause_by, l->text);
	check_within(l->explored, l->text);
	check(l->messages >= REPORT_UNKNOWN && l->rejected >= REPORT_UNKNOWN);
}

static void take_line(struct report_sums *sums, struct slice line)
{
	struct report_line l;
	sums->lines++;
	if (!report_line_parse(line, &l))
		return;
	check_line(&l, line);
	int64_t at = report_time_of(l.before, NOW);
	check(at == REPORT_NO_TIME || (at >= -86400 && at <= LATEST));
	report_sums_add(sums, &l, at);
}

static void check_printed(const struct report_sums *sums)
{
	void (*const forms[])(FILE *, const struct report_sums *, const struct report_shape *) = { report_print, report_json };
	const struct report_shape shape = { .top = 3 };
	for (unsigned form = 0; form < 2; form++) {
		char *text = NULL;
		size_t len = 0;
		FILE *to = open_memstream(&text, &len);
		check(to);
		forms[form](to, sums, &shape);
		check(fclose(to) == 0);
		for (size_t i = 0; i < len; i++)
			check((text[i] >= ' ' && text[i] < 0x7f) || text[i] == '\n' || (form == 0 && text[i] == '\t'));
		free(text);
	}
}

static void check_sums(const struct report_sums *sums)
{
	uint64_t connections = sums->beyond, clients = 0;
	for (uint32_t i = 0; i < sums->clients_len; i++)
		connections += sums->clients[i].connections;
	for (uint32_t i = 0; i < sums->networks_len; i++)
		clients += sums->networks[i].clients;
	check(connections == sums->connections);
	check(sums->mail_len + sums->blind <= clients && clients <= sums->clients_len);
	for (uint32_t i = 0; i < sums->mail_len; i++)
		check(sums->mail[i]->messages > 0 && sums->mail[i]->would + sums->mail[i]->did > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct report_sums sums; /* large */
	const char *at = (const char *)data, *end = at + size, *lf;
	char typed[64];
	int64_t since;
	check(report_sums_init(&sums));
	sums.clients_max = 8;
	for (unsigned n = 0; at < end; n++) {
		lf = memchr(at, '\n', (size_t)(end - at));
		struct slice line = { at, (size_t)((lf ? lf : end) - at) };
		if (n == 0 && line.len < sizeof(typed)) {
			memcpy(typed, line.at, line.len);
			typed[line.len] = '\0';
			if (report_time_parse(typed, NOW, &since))
				check(since > -LATEST && since < 10 * LATEST);
		}
		take_line(&sums, line);
		at += line.len + 1;
	}
	check(report_sums_end(&sums));
	check_sums(&sums);
	check_printed(&sums);
	report_sums_fini(&sums);
	return 0;
}
