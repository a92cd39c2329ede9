/* Fuzz target: any bytes as the image of a text map, sealed as a real one is. They are refused, or look-ups stay inside. The first byte
 * chooses whether the sizes in the header are made to fit, so that the fuzzer gets behind the checks. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gate/access.h"
#include "map/map_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER 296      /* bytes in front of the slots */
#define POOL_SIZE_AT 32
#define SLOTS_AT 16

static int sealed(const uint8_t *data, size_t size, uint8_t fit)
{
	static uint8_t image[1 << 20];
	if (size > sizeof(image))
		size = sizeof(image);
	memcpy(image, data, size);
	if (fit && size >= HEADER) {
		uint32_t slots = 16u << (fit & 3);
		uint32_t tables = slots * 8 + slots / 2;
		uint64_t pool = size - HEADER > tables ? size - HEADER - tables : 0;
		memcpy(image + SLOTS_AT, &slots, sizeof(slots));
		memcpy(image + POOL_SIZE_AT, &pool, sizeof(pool));
	}
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || write(fd, image, size) != (ssize_t)size)
		__builtin_trap();
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		__builtin_trap();
	return fd;
}

static void look_up(const struct map_text *map)
{
	static const char *const texts[] = { "", "a", "greetpause:127", "greetpause:127.0.0.2" };
	struct slice keys[4];
	struct map_value value;
	static volatile uint8_t sum;
	for (size_t i = 0; i < 4; i++)
		keys[i] = slice_of(texts[i]);
	for (size_t i = 0; i < 4; i++)
		if (map_text_first(map, keys + i, 4 - i, &value) >= 0)
			for (size_t j = 0; j < value.text.len; j++)
				sum = (uint8_t)(sum + value.text.at[j]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const clients[] = { "127.0.0.2", "::1", "2001:db8:1:2:3:4:5:6" };
	if (size < 1)
		return 0;
	struct map_text *map = map_text_open(sealed(data + 1, size - 1, data[0]));
	if (map)
		look_up(map);
	map_text_close(map);
	struct access *access = access_open(sealed(data + 1, size - 1, data[0]));
	for (size_t i = 0; access && i < 3; i++) {
		struct addr a;
		if (!addr_parse(slice_of(clients[i]), &a))
			__builtin_trap();
		struct access_answer answer = access_greet_pause(access, &a, 5);
		if (answer.pause_ms < 0 || answer.pause_ms > ACCESS_PAUSE_MAX_MS)
			__builtin_trap();
	}
	access_close(access);
	return 0;
}
