/* Cells: what is put there, and what cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "shown.h"

static struct grid g;

static void put_and_cut(void **context)
{
	(void)context;
	grid_clear(&g, 3, 10);
	assert_int_equal(grid_put(&g, (struct grid_at){ 0, 2, 4 }, GRID_BAD, "abcdef"), 4);
	assert_string_equal(shown_row(&g, 0), "  abcd    ");
	assert_int_equal(g.cells[0][2].style, GRID_BAD);
	grid_put(&g, (struct grid_at){ 1, 8, 100 }, GRID_PLAIN, "abcdef"); /* over the edge */
	assert_string_equal(shown_row(&g, 1), "        ab");
	grid_put(&g, (struct grid_at){ 1, -1, 100 }, GRID_PLAIN, "xy");
	assert_string_equal(shown_row(&g, 1), "y       ab");
	grid_put(&g, (struct grid_at){ 3, 0, 9 }, GRID_PLAIN, "below");
	grid_put(&g, (struct grid_at){ -1, 0, 9 }, GRID_PLAIN, "above");
	grid_put_right(&g, (struct grid_at){ 2, 1, 6 }, GRID_PLAIN, "12");
	assert_string_equal(shown_row(&g, 2), "     12   ");
	grid_put_right(&g, (struct grid_at){ 2, 1, 3 }, GRID_PLAIN, "12345678");
	assert_string_equal(shown_row(&g, 2), " 123 12   ");
	assert_int_equal(grid_put(&g, (struct grid_at){ 0, 0, -5 }, GRID_PLAIN, "x"), 0);
	assert_int_equal(grid_putf(&g, (struct grid_at){ 0, 0, 10 }, GRID_PLAIN, "%d%%", 50), 3);
	assert_string_equal(shown_row(&g, 0), "50%bcd    ");
}

static void larger_than_there_is_room(void **context)
{
	(void)context;
	grid_clear(&g, 100000, 100000);
	assert_true(g.rows == GRID_ROWS && g.cols == GRID_COLS);
	grid_sign(&g, GRID_ROWS - 1, GRID_COLS - 1, GRID_PLAIN, 'x');
	grid_sign(&g, GRID_ROWS, GRID_COLS, GRID_PLAIN, 'x');
	grid_clear(&g, -1, -1);
	assert_true(g.rows == 0 && g.cols == 0);
	grid_put(&g, (struct grid_at){ 0, 0, 10 }, GRID_PLAIN, "nowhere");
}

static void nothing_harmful(void **context)
{
	char all[256];
	(void)context;
	for (unsigned i = 0; i < sizeof(all); i++)
		all[i] = (char)(i + 1); /* the last one is the NUL */
	grid_clear(&g, 6, GRID_COLS);
	grid_put(&g, (struct grid_at){ 0, 0, GRID_COLS }, GRID_PLAIN, all);
	grid_putf(&g, (struct grid_at){ 1, 0, GRID_COLS }, GRID_PLAIN, "%s", all);
	grid_put_right(&g, (struct grid_at){ 2, 0, GRID_COLS }, GRID_PLAIN, all);
	for (unsigned i = 0; i < 256; i++)
		grid_sign(&g, 3, (int)i, GRID_PLAIN, (uint8_t)i);
	assert_true(shown_is_harmless(&g));
	grid_put_bytes(&g, (struct grid_at){ 4, 0, GRID_COLS }, GRID_PLAIN, "\x1b]0;x\a\0\x9b\xe2\x80\xae\"\\", 13);
	assert_true(shown_is_harmless(&g));
	assert_true(shown_anywhere(&g, "\\x1b]0;x\\x07\\x00\\x9b\\xe2\\x80\\xae\\\"\\\\ "));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(put_and_cut), cmocka_unit_test(larger_than_there_is_room), cmocka_unit_test(nothing_harmful) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
