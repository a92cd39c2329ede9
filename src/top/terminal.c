/* The tour, top: the terminal. The only file that knows ncurses. */
#define NCURSES_WIDECHAR 1
#include "top/terminal.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include <curses.h>
#include <term.h>

static SCREEN *screen; /* NULL: it is not open */
static WINDOW *keyboard; /* of no size: reading from stdscr would show it, half drawn */
static bool utf8, colours;

/* By the style. */
static const struct {
	short colour;   /* -1: the terminal's own */
	attr_t with, without; /* attributes with colours, and where there are none */
} styles[GRID_STYLES] = {
	[GRID_PLAIN] = { -1, A_NORMAL, A_NORMAL }, [GRID_TITLE] = { -1, A_BOLD, A_BOLD }, [GRID_DIM] = { -1, A_DIM, A_NORMAL }, [GRID_BAR] = { -1, A_REVERSE, A_REVERSE },
	[GRID_CHOSEN] = { -1, A_REVERSE | A_BOLD, A_REVERSE }, [GRID_GOOD] = { COLOR_GREEN, A_NORMAL, A_NORMAL }, [GRID_BAD] = { COLOR_RED, A_BOLD, A_BOLD },
	[GRID_WARN] = { COLOR_YELLOW, A_NORMAL, A_NORMAL }, [GRID_MARK] = { COLOR_CYAN, A_BOLD, A_BOLD },
};

static void begin_colours(void)
{
	const char *none = getenv("NO_COLOR"); /* https://no-color.org */
	colours = (!none || !none[0]) && has_colors() && start_color() == OK;
	if (!colours)
		return;
	short background = use_default_colors() == OK ? -1 : COLOR_BLACK, foreground = background == -1 ? -1 : COLOR_WHITE;
	for (short i = 0; i < GRID_STYLES; i++)
		init_pair((short)(i + 1), styles[i].colour < 0 ? foreground : styles[i].colour, background);
}

static bool is_able(void)
{
	const char *move_to = tigetstr("cup");
	return move_to && move_to != (char *)-1;
}

bool terminal_open(struct buf *why)
{
	const char *name = getenv("TERM");
	setlocale(LC_CTYPE, "");
	utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	screen = name && name[0] ? newterm(NULL, stdout, stdin) : NULL;
	if (screen && !is_able()) {
		endwin();
		delscreen(screen);
		screen = NULL;
	}
	if (!screen) {
		buf_put_text(why, "this terminal cannot be written to by rows and columns, or is not known here (TERM is \"");
		buf_put_escaped(why, name ? name : "", name ? strlen(name) : 0, 60);
		buf_put_text(why, "\")");
		return false;
	}
	begin_colours();
	cbreak();
	noecho();
	nonl();
	keyboard = newpad(1, 1);
	if (!keyboard) {
		terminal_close();
		buf_put_text(why, "no memory");
		return false;
	}
	keypad(keyboard, TRUE);
	nodelay(keyboard, TRUE);
	set_escdelay(25);
	curs_set(0);
	return true;
}

void terminal_close(void)
{
	if (!screen)
		return;
	if (keyboard)
		delwin(keyboard);
	endwin();
	delscreen(screen);
	screen = NULL;
	keyboard = NULL;
}

void terminal_size(int *rows, int *cols)
{
	getmaxyx(stdscr, *rows, *cols);
}

static void put_sign(int row, int col, uint8_t what)
{
	static const char levels[] = " .:-=+*%#";
	const wchar_t block[2] = { (wchar_t)(what == GRID_LINE ? 0x2502 : 0x2580 + (what - GRID_LEVEL)), L'\0' };
	if (what <= '~')
		mvaddch(row, col, what);
	else if (utf8)
		mvaddnwstr(row, col, block, 1);
	else
		mvaddch(row, col, (chtype)(what == GRID_LINE ? '|' : levels[what - GRID_LEVEL]));
}

void terminal_show(const struct grid *g)
{
	int rows, cols;
	terminal_size(&rows, &cols);
	erase();
	for (int row = 0; row < g->rows && row < rows; row++)
		for (int col = 0; col < g->cols && col < cols; col++) {
			const struct grid_cell *c = &g->cells[row][col];
			if (c->what == ' ' && c->style == GRID_PLAIN)
				continue;
			attrset((int)(colours ? styles[c->style].with | COLOR_PAIR(c->style + 1) : styles[c->style].without));
			put_sign(row, col, c->what);
		}
	attrset(A_NORMAL);
	refresh();
}

void terminal_forget(void)
{
	clearok(stdscr, TRUE);
}

int terminal_key(void)
{
	static const struct {
		int from, to;
	} keys[] = {
		{ ERR, TERMINAL_NONE }, { '\t', TERMINAL_TAB }, { KEY_BTAB, TERMINAL_BACKTAB }, { KEY_LEFT, TERMINAL_LEFT }, { KEY_RIGHT, TERMINAL_RIGHT }, { KEY_UP, TERMINAL_UP }, { KEY_DOWN, TERMINAL_DOWN },
		{ KEY_PPAGE, TERMINAL_PAGE_UP }, { KEY_NPAGE, TERMINAL_PAGE_DOWN }, { KEY_HOME, TERMINAL_HOME }, { KEY_END, TERMINAL_END }, { KEY_RESIZE, TERMINAL_RESIZED }, { 'L' - '@', TERMINAL_REDRAW },
		{ '\033', TERMINAL_ESCAPE }, { KEY_F(1), 'h' },
	};
	int key = wgetch(keyboard);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (keys[i].from == key)
			return keys[i].to;
	return key >= ' ' && key <= '~' ? key : TERMINAL_OTHER;
}
