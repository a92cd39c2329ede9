/* The tour, core: TLS, as far as this side of it goes: texts that are taken from another process only if they are texts, and secrets put where they can be
 * handed over. No secret stays in this process' memory: whatever passes through it is wiped, since children are copies of it. */
#include "core/tlswire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/whole.h"

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static bool is_text(const char *field, size_t size)
{
	size_t len = strnlen(field, size);
	for (size_t i = 0; i < len; i++)
		if (field[i] < ' ' || field[i] > '~')
			return false;
	return len < size;
}

bool tlswire_facts_ok(const struct tlswire_facts *f)
{
	return f->magic == TLSWIRE_MAGIC && f->ok <= 1 && f->resumed <= 1 && f->certificate <= 1 && f->verified <= f->certificate && is_text(f->version, sizeof(f->version)) &&
		is_text(f->cipher, sizeof(f->cipher)) && is_text(f->name, sizeof(f->name)) && is_text(f->common_name, sizeof(f->common_name)) && is_text(f->error, sizeof(f->error));
}

void tlswire_put(char *field, size_t size, const char *text, size_t len)
{
	size_t n = len < size - 1 ? len : size - 1;
	for (size_t i = 0; i < n; i++)
		field[i] = text[i] < ' ' || text[i] > '~' ? '?' : text[i];
	field[n] = '\0';
}

/* The bytes copied, or -errno. */
static int64_t copy(int from, int to)
{
	char block[4096];
	int64_t total = 0;
	ssize_t n;
	while ((n = read(from, block, sizeof(block))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		bool ok = n > 0 && whole_write(to, block, (size_t)n) == 0;
		int error = errno;
		explicit_bzero(block, sizeof(block));
		if (!ok)
			return -error;
		total += n;
		if (total > TLSWIRE_FILE_MAX)
			return -EFBIG;
	}
	return total;
}

/* Only a plain file: a FIFO would keep the parent waiting. */
static bool append_file(const char *path, int to, uint32_t *len, struct buf *why)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int64_t n = fd < 0 || fstat(fd, &st) < 0 ? -errno : !S_ISREG(st.st_mode) ? -EINVAL : copy(fd, to);
	if (fd >= 0)
		close(fd);
	if (n > 0) {
		*len = (uint32_t)n;
		return true;
	}
	buf_putf(why, "%s: %s", path, n == 0 ? "is empty" : n == -EFBIG ? "is larger than 1 MB" : n == -EINVAL ? "is no file" : strerror((int)-n));
	return false;
}

static int sealed(int fd)
{
	return fcntl(fd, F_ADD_SEALS, SEALS) < 0 ? -errno : 0;
}

/* Room for a head of so many bytes, which is written last. A descriptor, or -1. */
static int begin_files(const char *name, size_t head, struct buf *why)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd >= 0 && lseek(fd, (off_t)head, SEEK_SET) >= 0)
		return fd;
	buf_putf(why, "memory for a certificate: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* ok: the files are in it. Returns the descriptor, or -1. */
static int end_files(int fd, bool ok, const void *head, size_t len, struct buf *why)
{
	if (ok && (pwrite(fd, head, len, 0) != (ssize_t)len || sealed(fd) < 0)) {
		buf_putf(why, "memory for a certificate: %s", strerror(errno));
		ok = false;
	}
	if (ok)
		return fd;
	close(fd);
	return -1;
}

int tlswire_bundle_files(const char *certificate, const char *key, const char *ca, struct buf *why)
{
	struct tlswire_bundle head = { .magic = TLSWIRE_MAGIC };
	int fd = begin_files("tarry-certificate", sizeof(head), why);
	if (fd < 0)
		return -1;
	bool ok = append_file(certificate, fd, &head.certificate, why) && (!key || !key[0] || append_file(key, fd, &head.key, why)) &&
		(!ca || !ca[0] || append_file(ca, fd, &head.ca, why));
	return end_files(fd, ok, &head, sizeof(head), why);
}

int tlswire_backend_files(const struct conf *conf, struct buf *why)
{
	struct tlswire_backends head = { .magic = TLSWIRE_MAGIC, .count = (uint32_t)conf->backends_len };
	int fd = begin_files("tarry-backends", sizeof(head), why);
	bool ok = fd >= 0;
	for (size_t i = 0; i < conf->backends_len && ok; i++) {
		const struct conf_backend *b = &conf->backends[i];
		const char *name = b->tls_name ? b->tls_name : "", *ca = b->tls_ca ? b->tls_ca : "";
		struct buf about;
		size_t before = why->len;
		if (b->tls == CONF_TLS_NO)
			continue;
		buf_init(&about, 2 * PATH_MAX);
		buf_putf(&about, "%s: tls_ca: %s", b->where, ca);
		head.of[i].wanted = 1;
		tlswire_put(head.of[i].name, sizeof(head.of[i].name), name, strlen(name));
		tlswire_put(head.of[i].about, sizeof(head.of[i].about), about.len > 0 ? about.at : "", about.len);
		buf_fini(&about);
		buf_putf(why, "%s: tls_ca: ", b->where);
		ok = !ca[0] || append_file(ca, fd, &head.of[i].ca, why);
		if (ok)
			why->len = before;
	}
	return fd < 0 ? -1 : end_files(fd, ok, &head, sizeof(head), why);
}

int tlswire_make_tickets(int before, bool wanted)
{
	struct tlswire_tickets old = { .count = 0 }, fresh = { .magic = TLSWIRE_MAGIC, .count = wanted };
	int error = 0;
	if (wanted && before >= 0 && pread(before, &old, sizeof(old), 0) == (ssize_t)sizeof(old) && old.count > 0) {
		fresh.keys[1] = old.keys[0];
		fresh.count = 2;
	}
	int fd = memfd_create("tarry-tickets", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		error = -errno;
	else if (getrandom(&fresh.keys[0], sizeof(fresh.keys[0]), 0) != (ssize_t)sizeof(fresh.keys[0]))
		error = -EIO;
	else if (whole_write(fd, &fresh, sizeof(fresh)) < 0 || sealed(fd) < 0)
		error = errno ? -errno : -EIO;
	explicit_bzero(&old, sizeof(old));
	explicit_bzero(&fresh, sizeof(fresh));
	if (error < 0 && fd >= 0)
		close(fd);
	return error < 0 ? error : fd;
}
