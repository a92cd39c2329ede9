/* tool.h: the sub-commands that are not the server.
 *
 * Each is called as a main() would be: argv[0] is the sub-command's own name ("probe"), what is returned is the exit code of the
 * process (sysexits(3), unless the manual page says otherwise). They may block, they print to stdout, and their complaints go to stderr.
 */
#ifndef TARRY_TOOL_TOOL_H
#define TARRY_TOOL_TOOL_H

/* tarry probe HOST[:PORT]: try a server's pause, as a slammer and as a patient client, and say what it does. */
int tool_probe(int argc, char **argv);

/* tarry check [-c FILE] [-o name=value]… [-v]: read the configuration and the access database, say what is wrong and where, and what a
 * door with them would do. */
int tool_check(int argc, char **argv);

/* tarry access get|why|dump|build: ask the access database as the door would, list it, make a map. */
int tool_access(int argc, char **argv);
/* tarry report [FILE]…: what enforcing had refused, or has refused, by the log, and whose mail was accepted. */
int tool_report(int argc, char **argv);
/* tarry mc FILE.mc: what a sendmail.mc says about the greeting and the access database, as a tarry.conf. */
int tool_mc(int argc, char **argv);

#endif
