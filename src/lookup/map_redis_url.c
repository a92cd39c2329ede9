/* The tour, lookup: Redis and Valkey: how a server is named, and the reader of its replies; for the maps, and for the keeper of those who are known. */
#include "lookup/map_redis.h"

#include <hiredis/hiredis.h>
#include <string.h>

static bool parse_options(struct slice text, struct map_redis_url *out, struct buf *why)
{
	char db[16] = "";
	const struct url_option options[] = {
		{ "prefix", out->prefix, sizeof(out->prefix), NULL },
		{ "hash", out->hash, sizeof(out->hash), NULL },
		{ "db", db, sizeof(db), NULL },
		{ "user", out->user, sizeof(out->user), NULL },
		{ "password_file", out->password_file, sizeof(out->password_file), NULL },
		{ NULL, NULL, 0, NULL },
	};
	if (!url_options(text, '&', options, why))
		return false;
	if (db[0] && !url_number(slice_of(db), INT32_MAX, &out->db)) {
		buf_put_text(why, "db= is a number");
		return false;
	}
	if (out->user[0] && !out->password_file[0]) {
		buf_put_text(why, "user= needs a password_file=");
		return false;
	}
	return true;
}

bool map_redis_parse(const char *spec, struct map_redis_url *out, struct buf *why)
{
	static const char tcp[] = "redis://", local[] = "redis:unix:";
	struct slice rest = slice_of(spec);
	bool is_local = strncmp(spec, local, sizeof(local) - 1) == 0, ok;
	*out = (struct map_redis_url){ .port = MAP_REDIS_PORT };
	if (rest.len >= URL_SPEC_MAX || (!is_local && strncmp(spec, tcp, sizeof(tcp) - 1) != 0)) {
		buf_putf(why, "expected %s", MAP_REDIS_FORM);
		return false;
	}
	size_t head = is_local ? sizeof(local) - 1 : sizeof(tcp) - 1;
	rest.at += head;
	rest.len -= head;
	struct slice place = url_cut(&rest, '?', NULL);
	if (is_local) {
		ok = url_decode(place, out->path, sizeof(out->path)) && out->path[0] == '/';
	} else {
		struct slice host = url_cut(&place, '/', NULL);
		ok = url_host_port(host, out->host, &out->port) && (place.len == 0 || url_number(place, INT32_MAX, &out->db));
	}
	if (!ok) {
		buf_putf(why, "the server is not understood; expected %s", MAP_REDIS_FORM);
		return false;
	}
	return parse_options(rest, out, why);
}

/* A reader that believes in no array larger than a question: hiredis makes room for as many elements as a server announces. */
#if HIREDIS_MAJOR >= 1
redisReader *map_redis_reader(void)
{
	redisReader *reader = redisReaderCreate();
	if (reader)
		reader->maxelements = WIRE_KEYS;
	return reader;
}
#else
static redisReplyObjectFunctions functions;
static void *(*create_array)(const redisReadTask *, int);

static void *create_small_array(const redisReadTask *task, int elements)
{
	return elements <= WIRE_KEYS ? create_array(task, elements) : NULL;
}

redisReader *map_redis_reader(void)
{
	redisReader *reader = redisReaderCreate();
	if (!reader)
		return NULL;
	functions = *reader->fn;
	create_array = functions.createArray;
	functions.createArray = create_small_array;
	reader->fn = &functions;
	return reader;
}
#endif

void map_redis_needs(const struct map_redis_url *url, struct sandbox_needs *needs)
{
	sandbox_need_names(needs);
	if (url->host[0])
		sandbox_need_port(needs, url->port);
	else
		needs->abstract = needs->abstract || url->path[0] == '@';
	sandbox_need_folder_of(needs, url->password_file, LANDLOCK_READ);
}
