/* Writes what people read of options.def, sections.def and metrics.def: the option list of tarry.conf(5), the counters of tarry(8), and the sample configuration.
 *
 *   options man FILE     FILE with its lines "@OPTIONS@", "@LISTEN@", "@BACKEND@", "@COUNTERS@" and "@HISTOGRAMS@" replaced by the list, in mdoc
 *   options sample       every option, commented out, with its default
 *   options conf         the same, for /etc/tarry/tarry.conf: what a fresh installation needs is not commented out
 *
 * Runs while Tarry is built, on the machine that builds it.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SAMPLE_WIDTH 78

enum type { TEXT, WORD, INT, SIZE, DURATION, PERCENT, BOOL, LIST };

enum section { ROOT, LISTEN, BACKEND };

static const struct row {
	enum section section;
	const char *name;
	enum type type;
	const char *initial;
	long long least, most;
	const char *sentence;
} rows[] = {
#define OPTION(name, type, initial, least, most, sentence) { ROOT, #name, type, initial, least, most, sentence },
#include "options.def"
#undef OPTION
#define SECTION_OPTION(section, name, type, initial, least, most, sentence) { section, #name, type, initial, least, most, sentence },
#include "sections.def"
#undef SECTION_OPTION
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const char *const type_names[] = { "text", "word", "number", "size", "duration", "percentage", "yes | no", "list" };

/* "24h" rather than "86400000". */
static void print_amount(enum type type, long long n)
{
	static const struct { long long factor; const char *name; } durations[] = {
		{ 86400000, "d" }, { 3600000, "h" }, { 60000, "m" }, { 1000, "s" }, { 1, "ms" },
	}, sizes[] = { { 1 << 30, "G" }, { 1 << 20, "M" }, { 1 << 10, "K" }, { 1, "" } };
	size_t i = 0;
	if (type == PERCENT) {
		printf("%g%%", (double)n / 10000);
		return;
	}
	if (n == 0 || (type != DURATION && type != SIZE)) {
		printf("%lld", n);
		return;
	}
	while (n % (type == DURATION ? durations[i].factor : sizes[i].factor) != 0)
		i++;
	if (type == DURATION)
		printf("%lld%s", n / durations[i].factor, durations[i].name);
	else
		printf("%lld%s", n / sizes[i].factor, sizes[i].name);
}

/* The default as it would stand in the file. */
static void print_initial(const struct row *r)
{
	if (r->type == LIST)
		printf("{ }");
	else
		printf(r->type == TEXT ? "\"%s\"" : "%s", r->initial);
}

/* Sentences on lines of their own, as mdoc wants them; a line must not begin like a macro. */
static void print_mdoc(const char *text)
{
	bool begins = true;
	for (; *text; text++) {
		if (begins && (*text == '.' || *text == '\''))
			printf("\\&");
		begins = false;
		if (*text == '\\') {
			printf("\\e");
		} else if (*text == ' ' && text[-1] == '.' && ((text[1] >= 'A' && text[1] <= 'Z') || (text[1] >= '0' && text[1] <= '9'))) {
			putchar('\n');
			begins = true;
		} else {
			putchar(*text);
		}
	}
	putchar('\n');
}

static void print_list(enum section section)
{
	puts(section == ROOT ? ".Bl -tag -width Ds" : ".Bl -tag -width Ds -compact");
	for (const struct row *r = rows; r < rows + ROWS; r++) {
		if (r->section != section)
			continue;
		printf(".It Ic %s No = Ar %s\n", r->name, r->type == BOOL ? "yes \\*(Ba no" : type_names[r->type]);
		print_mdoc(r->sentence);
		if (r->initial[0] == '\0')
			printf("Default: empty");
		else
			printf("Default:\n.Li %s", r->initial);
		if (r->type == INT || r->type == SIZE || r->type == DURATION || r->type == PERCENT) {
			printf(" ;\nfrom ");
			print_amount(r->type, r->least);
			printf(" to ");
			print_amount(r->type, r->most);
			puts(".");
		} else {
			puts(r->initial[0] == '\0' ? "." : " .");
		}
	}
	puts(".El");
}

static void print_counters(void)
{
	static const struct {
		const char *name, *sentence;
		bool now;
	} counters[] = {
#define METRIC(name, kind, sentence) { #name, sentence, METRIC_##kind },
#define METRIC_COUNTER false
#define METRIC_GAUGE true
#include "metrics.def"
#undef METRIC_COUNTER
#undef METRIC_GAUGE
	};
	puts(".Bl -tag -width refused_commands -compact");
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		printf(".It Cm %s\n", counters[i].name);
		print_mdoc(counters[i].sentence);
		if (counters[i].now)
			puts("(as of now)");
	}
	puts(".El");
}

static void print_histograms(void)
{
	static const struct {
		const char *name, *sentence;
	} histograms[] = {
#define HISTOGRAM(name, sentence) { #name, sentence },
#include "metrics.def"
	};
	puts(".Bl -tag -width backend_greeting -compact");
	for (size_t i = 0; i < sizeof(histograms) / sizeof(histograms[0]); i++) {
		printf(".It Cm %s\n", histograms[i].name);
		print_mdoc(histograms[i].sentence);
	}
	puts(".El");
}

/* As comments, broken between words. */
static void print_comment(const char *indent, const char *text)
{
	int column = 0, begin = 1 + (int)strlen(indent);
	while (*text) {
		int word = (int)strcspn(text, " ");
		if (column == 0 || column + 1 + word > SAMPLE_WIDTH) {
			printf("%s#%s", column == 0 ? "" : "\n", indent);
			column = begin;
		}
		column += printf(" %.*s", word, text);
		text += word;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static void print_option(const struct row *r, const char *set)
{
	putchar('\n');
	print_comment("", r->sentence);
	printf(set ? "%s = " : "#%s = ", r->name);
	if (set)
		fputs(set, stdout);
	else
		print_initial(r);
	putchar('\n');
}

static void print_section(enum section section)
{
	for (const struct row *r = rows; r < rows + ROWS; r++) {
		if (r->section != section)
			continue;
		printf("#\n#   %s = ", r->name);
		print_initial(r);
		putchar('\n');
		print_comment("      ", r->sentence);
	}
}

/* What one meets first, in this order; and what a fresh installation has of it. */
static const struct {
	const char *name;
	const char *set; /* NULL: as it is by default */
} first[] = { { "hostname", NULL }, { "greet_pause", "1s" }, { "access_db", "{ \"text:/etc/tarry/access\" }" }, { "accept_domains", NULL }, { "maildir", NULL } };
#define FIRST (sizeof(first) / sizeof(first[0]))

static size_t place_among_first(const struct row *r)
{
	size_t i = 0;
	while (i < FIRST && strcmp(first[i].name, r->name) != 0)
		i++;
	return i;
}

static void print_sections(bool set)
{
	puts("\n"
		"# Where the door listens; once for each address.  \"[::]:25\" takes IPv4 clients,\n"
		"# too.  For mail from the Internet: listen \"[::]:25\" { }");
	if (set)
		puts("# As it is installed it can be tried from this machine, and is in no other mail\n"
			"# server's way.");
	puts("# Behind a load balancer that sends the PROXY header:\n"
		"# listen \"10.0.0.5:25\" { proxy = yes  trust = { \"10.0.0.2\" } }\n"
		"# With tls_certificate, a port where TLS comes first:\n"
		"# listen \"[::]:465\" { tls = implicit }\n"
		"# What may stand between the braces, and its defaults:");
	print_section(LISTEN);
	puts(set ? "listen \"127.0.0.1:2525\" { }" : "#listen \"127.0.0.1:2525\" { }");
	puts("\n"
		"# The mail servers that patient clients are handed to: the one inside, mail:, or\n"
		"# any other. Once for each; a Postfix behind the door, for instance:\n"
		"# backend \"postfix\" { address = \"smtp:127.0.0.1:10025\"  proxy = v2 }\n"
		"# What may stand between the braces, and its defaults:");
	print_section(BACKEND);
	puts("#backend \"mail\" { address = \"mail:\" }");
}

static void print_sample(bool set)
{
	puts("# tarry.conf: the door's configuration; see tarry.conf(5).\n"
		"#\n"
		"# What is commented out shows its default: take the # away from a line that has\n"
		"# no blank behind it, change what it says, and ask \"tarry check\" what it means.");
	for (size_t i = 0; i < FIRST; i++)
		for (const struct row *r = rows; r < rows + ROWS; r++)
			if (r->section == ROOT && place_among_first(r) == i)
				print_option(r, set ? first[i].set : NULL);
	print_sections(set);
	for (const struct row *r = rows; r < rows + ROWS; r++)
		if (r->section == ROOT && place_among_first(r) == FIRST)
			print_option(r, NULL);
}

static int print_page(const char *path)
{
	char line[1024];
	bool found = false;
	FILE *f = fopen(path, "r");
	if (!f) {
		fprintf(stderr, "options: %s: %s\n", path, strerror(errno));
		return 1;
	}
	while (fgets(line, sizeof(line), f)) {
		if (strcmp(line, "@OPTIONS@\n") == 0) {
			found = true;
			print_list(ROOT);
		} else if (strcmp(line, "@LISTEN@\n") == 0) {
			print_list(LISTEN);
		} else if (strcmp(line, "@BACKEND@\n") == 0) {
			print_list(BACKEND);
		} else if (strcmp(line, "@COUNTERS@\n") == 0) {
			found = true;
			print_counters();
		} else if (strcmp(line, "@HISTOGRAMS@\n") == 0) {
			found = true;
			print_histograms();
		} else {
			fputs(line, stdout);
		}
	}
	fclose(f);
	if (!found)
		fprintf(stderr, "options: %s: no line @OPTIONS@ or @COUNTERS@\n", path);
	return found ? 0 : 1;
}

int main(int argc, char **argv)
{
	int code = 2;
	if (argc == 3 && strcmp(argv[1], "man") == 0) {
		code = print_page(argv[2]);
	} else if (argc == 2 && (strcmp(argv[1], "sample") == 0 || strcmp(argv[1], "conf") == 0)) {
		print_sample(argv[1][0] == 'c');
		code = 0;
	} else {
		fputs("usage: options man FILE | options sample | options conf\n", stderr);
	}
	return fflush(stdout) == 0 ? code : 1;
}
