/* Fuzz target: what a browser, a scraper or anybody else writes into the headers of a request to the desk. Whatever it is: without a token only one of our names lets in, and no token does; with one
 * only the token does, and whatever stands beside it does not keep it out; and a form of /metrics is chosen by what is asked for, not by the order of it.
 *
 * Lines: a token (one that cannot be a token: there is none), the address that the desk listens on, a name of desk_hosts, Host, Authorization, Cookie, the argument token, Accept; empty or missing: not there. */
#include <arpa/inet.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "check.h"
#include "desk/exposition.h"
#include "desk/guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT 4096 /* bytes; a header that the server takes may be longer, but has nothing new then */

enum { TOKEN, LISTEN, NAME, HOST, AUTHORIZATION, COOKIE, ARGUMENT, ACCEPT, FIELDS };

static char text[INPUT + 1];

/* The address in the words of the C library. False: it is none. */
static bool is_address(const char *name, unsigned char ip[16])
{
	memcpy(ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
	return inet_pton(AF_INET, name, ip + 12) == 1 || inet_pton(AF_INET6, name, ip) == 1;
}

/* One of our names, judged another way than guard.c does it. */
static bool is_ours(const struct guard *g, const char *host)
{
	static const unsigned char mapped[13] = "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f", loopback[16] = { [15] = 1 };
	char name[INPUT + 1];
	unsigned char ip[16];
	bool boxed = host[0] == '[' && strchr(host, ']');
	strcpy(name, host + boxed);
	name[strcspn(name, boxed ? "]" : ":")] = '\0';
	size_t len = strlen(name);
	if (len > 1 && name[len - 1] == '.')
		name[--len] = '\0';
	if (is_address(name, ip) && (memcmp(ip, mapped, 13) == 0 || memcmp(ip, loopback, 16) == 0 || memcmp(ip, g->listen.ip, 16) == 0))
		return true;
	if (len >= 9 && strcasecmp(name + len - 9, "localhost") == 0 && (len == 9 || (len > 10 && name[len - 10] == '.')))
		return true;
	return g->hosts_len > 0 && strcasecmp(name, g->hosts[0]) == 0;
}

static void check_without_token(const struct guard *g, char *const *f)
{
	bool ours = f[HOST] && is_ours(g, f[HOST]);
	check(guard_check(g, f[HOST], f[AUTHORIZATION], f[COOKIE], f[ARGUMENT]) == (ours ? GUARD_WELCOME : GUARD_FOREIGN));
	check(guard_check(g, f[HOST], NULL, NULL, NULL) == (ours ? GUARD_WELCOME : GUARD_FOREIGN));
}

static void check_with_token(const struct guard *g, char *const *f)
{
	char more[INPUT + GUARD_TOKEN_MOST + 40];
	enum guard_answer answer = guard_check(g, f[HOST], f[AUTHORIZATION], f[COOKIE], f[ARGUMENT]);
	check(answer == GUARD_WELCOME || answer == GUARD_ENTER || answer == GUARD_NO_TOKEN);
	check((answer == GUARD_ENTER) == (f[ARGUMENT] && strcmp(f[ARGUMENT], g->token) == 0));
	if (answer == GUARD_WELCOME)
		check((f[AUTHORIZATION] && strstr(f[AUTHORIZATION], g->token)) || (f[COOKIE] && strstr(f[COOKIE], GUARD_COOKIE "=")));
	check(guard_check(g, NULL, f[AUTHORIZATION], f[COOKIE], f[ARGUMENT]) == answer);
	snprintf(more, sizeof(more), GUARD_COOKIE "=%s; %s", g->token, f[COOKIE] ? f[COOKIE] : "");
	check(guard_check(g, f[HOST], NULL, more, NULL) == GUARD_WELCOME);
	snprintf(more, sizeof(more), "%s;" GUARD_COOKIE "=%s", f[COOKIE] ? f[COOKIE] : "", g->token);
	check(guard_check(g, f[HOST], NULL, more, NULL) == GUARD_WELCOME);
	snprintf(more, sizeof(more), "Bearer %sx", g->token);
	check(guard_check(g, f[HOST], more, NULL, NULL) == GUARD_NO_TOKEN);
	more[strlen(more) - 1] = '\0';
	check(guard_check(g, f[HOST], more, f[COOKIE], NULL) == GUARD_WELCOME);
}

static void check_guard(char *const *f)
{
	static struct guard g; /* large */
	g = (struct guard){ 0 };
	if (f[LISTEN] && !addr_parse_port(slice_of(f[LISTEN]), &g.listen))
		g.listen = (struct addr){ 0 };
	if (f[NAME])
		check(guard_add_host(&g, f[NAME]) == (strlen(f[NAME]) < GUARD_HOST));
	if (f[TOKEN] && guard_is_token(f[TOKEN]))
		strcpy(g.token, f[TOKEN]);
	(g.token[0] ? check_with_token : check_without_token)(&g, f);
}

static void check_accept(const char *accept)
{
	static const char asked[] = "application/openmetrics-text";
	char turned[2 * INPUT] = "";
	bool open = exposition_wants_openmetrics(accept);
	if (open)
		check(accept && strcasestr(accept, asked));
	if (!accept)
		return;
	for (const char *end = accept + strlen(accept), *p = end;; p--) { /* its elements from the last to the first */
		if (p > accept && p[-1] != ',')
			continue;
		strncat(turned, p, (size_t)(end - p));
		if (p == accept)
			break;
		strcat(turned, ",");
		end = p - 1;
	}
	check(exposition_wants_openmetrics(turned) == open);
	if (!strcasestr(accept, "text/") && !strstr(accept, "*/*")) {
		snprintf(turned, sizeof(turned), "%s,%s", accept, asked);
		check(exposition_wants_openmetrics(turned));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *f[FIELDS] = { NULL }, *at = text;
	size = size < INPUT ? size : INPUT;
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	for (unsigned i = 0; at && i < FIELDS; i++) {
		char *line = strsep(&at, "\n");
		f[i] = *line ? line : NULL;
	}
	check_guard(f);
	check_accept(f[ACCEPT]);
	return 0;
}
