/* Fuzz target: what `tarry advise` goes by: a door's answer, or a log that anybody has written. Whatever it says: what is counted are numbers, the estimate lies within its bounds, and these
 * within what was watched; what is printed is printable. The first byte says which of the two it is. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tool/advice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW 1796040000
#define ESTIMATED 32 /* an input of so many is judged: that takes a hundred times as long as all the rest */
#define ANSWER 4096 /* bytes: longer ones have nothing new, and take their time */

static struct advice a;
static struct advise_work work;

static bool take_answer(const uint8_t *data, size_t size)
{
	char text[ANSWER + 1];
	size = size < ANSWER ? size : ANSWER;
	memcpy(text, data, size);
	text[size] = '\0';
	return advice_take_status(&a, text, NOW);
}

static bool take_log(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data, *end = at + size, *lf;
	for (; at < end; at = lf + 1) {
		struct report_line l;
		lf = memchr(at, '\n', (size_t)(end - at));
		lf = lf ? lf : end;
		if (report_line_parse((struct slice){ at, (size_t)(lf - at) }, &l))
			advice_take_line(&a, &l, report_time_of(l.before, NOW));
	}
	return a.studied > 0;
}

static void check_result(const struct advise_result *r)
{
	check(r->reason[0] != '\0' && memchr(r->reason, '\0', sizeof(r->reason)));
	for (size_t i = 0; i < r->ladder_len; i++)
		check(r->ladder[i].low >= 0 && r->ladder[i].low <= r->ladder[i].share + 1e-9 && r->ladder[i].share <= r->ladder[i].high + 1e-9 && r->ladder[i].high <= 1);
	if (r->state == ADVISE_GOOD)
		check(isfinite(r->pause) && r->low > 0 && r->low <= r->pause && r->pause <= r->high && r->high <= ADVICE_LONGEST + 1);
}

static void check_printed(const struct advise_result *r)
{
	void (*const forms[])(FILE *, const struct advice *, const struct advise_result *) = { advice_print, advice_json };
	for (unsigned form = 0; form < 2; form++) {
		char *text = NULL;
		size_t len = 0;
		FILE *to = open_memstream(&text, &len);
		check(to);
		forms[form](to, &a, r);
		check(fclose(to) == 0);
		for (size_t i = 0; i < len; i++)
			check((text[i] >= ' ' && text[i] < 0x7f) || text[i] == '\n');
		free(text);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || !advice_init(&a, data[0] & 2 ? 0.9 : 0.99))
		return 0;
	bool any = data[0] & 1 ? take_log(data + 1, size - 1) : take_answer(data + 1, size - 1);
	for (size_t i = 0; i < a.len; i++)
		check(a.bins[i].talk >= 0 && a.bins[i].gone >= 0 && a.bins[i].waited >= 0);
	if (any && size % ESTIMATED == 0) {
		static struct advise_result r;
		advice_judge(&a, &work, &r);
		check(r.state != ADVISE_MALFORMED);
		check_result(&r);
		check_printed(&r);
	}
	advice_fini(&a);
	return 0;
}
