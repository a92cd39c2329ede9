/* The tour, mc: `tarry mc FILE.mc`, for who comes from Sendmail. m4 reads the file with macros of ours, what it prints becomes facts, and the facts become a
 * tarry.conf on the standard output. What Sendmail's own macros would complain of is on the standard error, in their words. */
#include "tool/mc.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "tool/complain.h"
#include "tool/tool.h"

static const char usage[] =
	"usage: tarry mc FILE.mc\n"
	"\n"
	"Reads a sendmail.mc through GNU m4, without Sendmail, and prints what it says about the greeting and the access\n"
	"database as a tarry.conf. What has no meaning for a door is named in comments. The warnings and errors of Sendmail's\n"
	"own macros are printed as Sendmail prints them.\n"
	"\n"
	"  -h, --help         this\n"
	"\n"
	"exit code: 0 done, warnings or not; 64 wrong usage; 65 m4 cannot make sense of the file; 66 it cannot be read;\n"
	"           69 m4 is not installed; 71 the system's error; 74 cannot write\n";

/* EX_OK, or the exit code, with a line or more in said->errors. */
static int convert(const char *path, struct buf *out, const struct mc_said *said)
{
	struct buf printed, text;
	struct mc_facts *facts = malloc(sizeof(*facts));
	buf_init(&printed, MC_OUTPUT_BYTES);
	buf_init(&text, MC_OUTPUT_BYTES);
	int code = facts ? mc_run(path, &printed, said) : EX_OSERR;
	const char *why = facts ? NULL : "out of memory";
	if (code == EX_OK && !mc_read(buf_slice(&printed), facts)) {
		why = "m4 stopped before the end of the file; is there an m4exit in it, or did it take away what ends it?";
		code = EX_DATAERR;
	} else if (code == EX_OK && (!mc_write(facts, path, &text) || !buf_put_slice(out, buf_slice(&text)))) {
		why = "what it becomes is too large, or there is no memory";
		code = EX_DATAERR;
	} else if (code == EX_OK) {
		mc_write_warnings(facts, path, said);
	}
	if (why) {
		buf_put_escaped(said->errors, path, strlen(path), 300);
		buf_putf(said->errors, ": %s\n", why);
	}
	buf_fini(&text);
	buf_fini(&printed);
	free(facts);
	return code;
}

bool mc_convert(const char *path, struct buf *conf_text, struct buf *errors, struct buf *warnings)
{
	struct mc_said said = { .errors = errors, .warnings = warnings };
	return convert(path, conf_text, &said) == EX_OK;
}

bool mc_is_mc(const char *path)
{
	size_t len = strlen(path);
	return len > 3 && strcmp(path + len - 3, ".mc") == 0;
}

static int run(const char *path)
{
	struct buf text, errors, warnings;
	buf_init(&text, MC_OUTPUT_BYTES);
	buf_init(&errors, MC_OUTPUT_BYTES);
	buf_init(&warnings, MC_OUTPUT_BYTES);
	struct mc_said said = { .errors = &errors, .warnings = &warnings, .bytes = true };
	int code = convert(path, &text, &said);
	if (warnings.len > 0)
		fwrite(warnings.at, 1, warnings.len, stderr);
	if (errors.len > 0 && warnings.len > 0 && warnings.at[warnings.len - 1] != '\n')
		fputc('\n', stderr);
	complain_lines(&errors, "");
	if (code == EX_OK && (fwrite(text.at, 1, text.len, stdout) != text.len || fflush(stdout) != 0)) {
		perror("tarry: mc: standard output");
		code = EX_IOERR;
	}
	buf_fini(&text);
	buf_fini(&errors);
	buf_fini(&warnings);
	return code;
}

int tool_mc(int argc, char **argv)
{
	static const struct option longs[] = { { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	int c;
	optind = 0; /* glibc: begin anew, whoever has used getopt before */
	while ((c = getopt_long(argc, argv, "+h", longs, NULL)) != -1) {
		if (c != 'h') {
			fputs(usage, stderr);
			return EX_USAGE;
		}
		fputs(usage, stdout);
		return EX_OK;
	}
	if (optind + 1 != argc) {
		fprintf(stderr, "tarry: mc: expected one file\n%s", usage);
		return EX_USAGE;
	}
	return run(argv[optind]);
}
