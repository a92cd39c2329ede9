/* The tour, map: how a map is named, and how it is told what is wrong with its source. */
#include "map/map.h"

#include <string.h>

const char *map_text_path(const char *spec, struct buf *why)
{
	static const char scheme[] = "text:";
	if (strncmp(spec, scheme, sizeof(scheme) - 1) == 0 && spec[sizeof(scheme) - 1] != '\0')
		return spec + sizeof(scheme) - 1;
	if (!why)
		return NULL;
	buf_put_char(why, '"');
	buf_put_escaped(why, spec, strlen(spec), MAP_NOTE_KEY);
	buf_put_text(why, "\" is no map that can be read; expected " MAP_SCHEMES "/path/to/file\n");
	return NULL;
}

void map_notes_init(struct map_notes *notes, struct buf *to, const char *file)
{
	*notes = (struct map_notes){ .to = to, .file = file };
}

bool map_note_begin(struct map_notes *notes, uint32_t line)
{
	if (notes->shown == MAP_NOTES_SHOWN) {
		notes->more++;
		return false;
	}
	notes->shown++;
	buf_putf(notes->to, "%s:%u: ", notes->file, line);
	return true;
}

void map_note_end(struct map_notes *notes)
{
	buf_put_char(notes->to, '\n');
}

void map_note_bytes(struct map_notes *notes, struct slice bytes)
{
	buf_put_escaped(notes->to, bytes.at, bytes.len, MAP_NOTE_KEY);
}

void map_notes_finish(struct map_notes *notes)
{
	if (notes->more > 0)
		buf_putf(notes->to, "%s: and %zu more\n", notes->file, notes->more);
}
