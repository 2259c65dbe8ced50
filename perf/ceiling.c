/*
 * The ceiling: the speed of a codec library called from C, page by page.
 *
 * Compiled and called by ceiling.py, with the same library file that vmsieve uses. Prototypes and constants are copied
 * from zstd.h, libdeflate.h, zlib.h, lzo1x.h and snappy-c.h, so that no header is needed. A page of 4096 bytes that
 * does not shrink is copied, as vmsieve does.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGE = 4096, BATCH = 256 };

static void *library;
static unsigned char *context, *stream, *buffer;
static int level;
static uint64_t (*first)(), (*second)(), (*third)();

static void die(const char *what)
{
	fprintf(stderr, "ceiling: %s\n", what);
	exit(1);
}

static void *function(const char *name)
{
	void *found = dlsym(library, name);

	if (!found)
		die(name);
	return found;
}

static void put(size_t at, const void *value, size_t size)
{
	memcpy(stream + at, value, size);
}

static size_t pack_zstd(unsigned char *page, unsigned char *out, size_t room)
{
	uint64_t done = ((uint64_t (*)(void *, void *, size_t, void *, size_t))first)(context, out, room, page, PAGE);

	return done >= (uint64_t)-4096 ? 0 : done;
}

static size_t pack_libdeflate(unsigned char *page, unsigned char *out, size_t room)
{
	return ((size_t (*)(void *, void *, size_t, void *, size_t))first)(context, page, PAGE, out, room);
}

static size_t pack_zlib(unsigned char *page, unsigned char *out, size_t room)
{
	uint32_t size = PAGE, space = room;

	((int (*)(void *))second)(stream);
	put(0, &page, 8), put(8, &size, 4), put(24, &out, 8), put(32, &space, 4);
	if (((int (*)(void *, int))first)(stream, 4) != 1)
		return 0;
	memcpy(&space, stream + 32, 4);
	return room - space;
}

/* LZO and snappy write up to their worst case, for which the buffer has space. */
static size_t pack_lzo(unsigned char *page, unsigned char *out, size_t room)
{
	size_t done = 0;

	((int (*)(void *, size_t, void *, size_t *, void *))first)(page, PAGE, out, &done, buffer);
	return done <= room ? done : 0;
}

static size_t unpack_lzo(unsigned char *packed, size_t size, unsigned char *out)
{
	size_t done = PAGE;

	return ((int (*)(void *, size_t, void *, size_t *, void *))third)(packed, size, out, &done, NULL) ? 0 : done;
}

static size_t pack_snappy(unsigned char *page, unsigned char *out, size_t room)
{
	size_t done = PAGE * 2;

	((int (*)(void *, size_t, void *, size_t *))first)(page, PAGE, out, &done);
	return done <= room ? done : 0;
}

static size_t unpack_snappy(unsigned char *packed, size_t size, unsigned char *out)
{
	size_t done = PAGE;

	return ((int (*)(void *, size_t, void *, size_t *))third)(packed, size, out, &done) ? 0 : done;
}

static size_t (*pack)(unsigned char *, unsigned char *, size_t);
static size_t (*unpack)(unsigned char *, size_t, unsigned char *);

static void prepare(const char *kind)
{
	stream = calloc(1, 1 << 18);
	buffer = calloc(1, 1 << 19);
	if (!strcmp(kind, "zstd")) {
		context = ((void *(*)(void))function("ZSTD_createCCtx"))();
		((size_t (*)(void *, int, int))function("ZSTD_CCtx_setParameter"))(context, 100, level);
		first = function("ZSTD_compress2"), pack = pack_zstd;
	} else if (!strcmp(kind, "libdeflate")) {
		context = ((void *(*)(int))function("libdeflate_alloc_compressor"))(level);
		first = function("libdeflate_zlib_compress"), pack = pack_libdeflate;
	} else if (!strcmp(kind, "zlib")) {
		void *version = ((void *(*)(void))function("zlibVersion"))();

		((int (*)(void *, int, void *, int))function("deflateInit_"))(stream, level, version, 112);
		first = function("deflate"), second = function("deflateReset"), pack = pack_zlib;
	} else if (!strcmp(kind, "lzo")) {
		first = function("lzo1x_1_compress"), third = function("lzo1x_decompress_safe");
		pack = pack_lzo, unpack = unpack_lzo;
	} else if (!strcmp(kind, "snappy")) {
		first = function("snappy_compress"), third = function("snappy_uncompress");
		pack = pack_snappy, unpack = unpack_snappy;
	} else {
		die("unknown kind");
	}
}

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
	return at.tv_sec + at.tv_nsec * 1e-9;
}

/* Read SIZE bytes word by word. Returns the CPU seconds. */
double read_words(const volatile uint64_t *words, size_t size)
{
	double began = now();

	for (size_t i = 0; i < size / sizeof(*words); i++)
		(void)words[i];
	return now() - began;
}

/*
 * Pack, or pack and unpack, COUNT pages ROUNDS times with the library of dlopen's HANDLE. Returns the CPU seconds of
 * the fastest round, and the bytes that all pages packed into.
 */
double ceiling(void *handle, const char *kind, int depth, int unpacking, unsigned char *pages, size_t count, int rounds,
	       size_t *packed)
{
	unsigned char *out = malloc((BATCH + 1) * PAGE * 2), *back = malloc(BATCH * PAGE);
	size_t *sizes = malloc(BATCH * sizeof(*sizes));
	double began, took, least = 0;

	library = handle;
	level = depth;
	prepare(kind);
	for (int round = 0; round < rounds; round++) {
		*packed = 0, took = 0;
		for (size_t at = 0; at < count; at += BATCH) {
			size_t many = count - at < BATCH ? count - at : BATCH;
			unsigned char *to = out, *from = out;

			began = now();
			for (size_t i = 0; i < many; i++) {
				unsigned char *page = pages + (at + i) * PAGE;

				sizes[i] = pack(page, to, PAGE - 1);
				if (sizes[i] == 0) {
					memcpy(to, page, PAGE);
					sizes[i] = PAGE;
				}
				to += sizes[i];
			}
			if (unpacking)
				began = now();
			for (size_t i = 0; unpacking && i < many; from += sizes[i++]) {
				if (sizes[i] == PAGE)
					memcpy(back + i * PAGE, from, PAGE);
				else if (unpack(from, sizes[i], back + i * PAGE) != PAGE)
					die("a page can't be unpacked");
			}
			took += now() - began;
			*packed += to - out;
		}
		least = round && least < took ? least : took;
	}
	return least;
}
