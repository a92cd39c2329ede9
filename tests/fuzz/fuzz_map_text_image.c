/* Fuzz target: any bytes as the image of a text map, sealed as a real one is. They are refused, or look-ups stay inside. The first byte
 * chooses whether the sizes in the header are made to fit, so that the fuzzer gets behind the checks. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access/access.h"
#include "map/map_text.h"
#include "map/map_text_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int sealed(const uint8_t *data, size_t size, uint8_t fit)
{
	_Alignas(8) static uint8_t image[1 << 20];
	if (size > sizeof(image))
		size = sizeof(image);
	memcpy(image, data, size);
	if (fit && size >= sizeof(struct map_text_header)) {
		struct map_text_header *h = (struct map_text_header *)(void *)image;
		h->slots = MAP_TEXT_SLOTS_LEAST << (fit & 3);
		size_t tables = sizeof(*h) + h->slots * sizeof(struct map_text_slot) + h->slots / MAP_TEXT_FILTER_SLOTS * sizeof(uint64_t);
		h->pool_size = size > tables ? size - tables : 0;
		h->reach %= h->slots;
	}
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || write(fd, image, size) != (ssize_t)size)
		__builtin_trap();
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		__builtin_trap();
	return fd;
}

static void look_up(struct map *map)
{
	static const char *const texts[] = { "", "a", "greetpause:127", "greetpause:127.0.0.2" };
	struct slice keys[4];
	struct map_value value;
	const char *start = (const char *)map_meta(map) - offsetof(struct map_text_header, meta);
	for (size_t i = 0; i < 4; i++)
		keys[i] = slice_of(texts[i]);
	for (size_t i = 0; i < 4; i++)
		if (map_first(map, keys + i, 4 - i, &value) >= 0 &&
			(value.text.at < start || value.text.at + value.text.len > start + map_size(map)))
			__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const clients[] = { "127.0.0.2", "::1", "2001:db8:1:2:3:4:5:6" };
	if (size < 1)
		return 0;
	struct map *map = map_open(sealed(data + 1, size - 1, data[0]));
	if (map)
		look_up(map);
	map_close(map);
	struct access *access = access_open(&(int){ sealed(data + 1, size - 1, data[0]) }, 1, &(struct access_rules){ .skip = false });
	for (size_t i = 0; access && i < 3; i++) {
		struct addr a;
		if (!addr_parse(slice_of(clients[i]), &a))
			__builtin_trap();
		struct access_answer answer = access_pause(access, ACCESS_GREETPAUSE, &(struct access_client){ .addr = a }, 5);
		if (answer.pause_ms < 0 || answer.pause_ms > ACCESS_PAUSE_MAX_MS)
			__builtin_trap();
	}
	access_close(access);
	return 0;
}
