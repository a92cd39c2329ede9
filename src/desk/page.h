/* page.h: the page, as one file of bytes: page/page.html with its style and its script, put together by page/embed.py while Tarry is built. */
#ifndef TARRY_DESK_PAGE_H
#define TARRY_DESK_PAGE_H

#include <stddef.h>

extern const unsigned char page_bytes[];
extern const size_t page_len;
/* Content-Security-Policy: the script and the style of this very file, events from where it came from, and nothing else. */
extern const char page_policy[];

#endif
