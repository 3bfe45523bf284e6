/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stands between the collector and the C library (LD_PRELOAD): writes and syncs
 * of the database fail, and the wall clock is another, as the file named by
 * ESTATS_FAULTS says at the moment. Its words: errno of writes, errno of syncs,
 * seconds to add to CLOCK_REALTIME; 0 is as ever.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct faults {
	int64_t write_errno;
	int64_t sync_errno;
	int64_t clock_seconds;
};

static volatile struct faults *faults;

__attribute__((constructor)) static void map_faults(void)
{
	const char *path = getenv("ESTATS_FAULTS");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *mapped;

	if (fd < 0)
		return;
	mapped = mmap(NULL, sizeof(*faults), PROT_READ, MAP_SHARED, fd, 0);
	faults = mapped == MAP_FAILED ? NULL : mapped;
	close(fd);
}

static int is_database(int fd)
{
	char link[64], path[4096];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return 0;
	path[length] = 0;
	return strstr(path, "/flows.db") != NULL;
}

#define FAIL(error, fd) \
	do { \
		if (faults && faults->error && is_database(fd)) { \
			errno = faults->error; \
			return -1; \
		} \
	} while (0)

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t count)
{
	FAIL(write_errno, fd);
	return NEXT(write)(fd, data, count);
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t offset)
{
	FAIL(write_errno, fd);
	return NEXT(pwrite)(fd, data, count, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t offset)
{
	FAIL(write_errno, fd);
	return NEXT(pwrite64)(fd, data, count, offset);
}

int fsync(int fd)
{
	FAIL(sync_errno, fd);
	return NEXT(fsync)(fd);
}

int fdatasync(int fd)
{
	FAIL(sync_errno, fd);
	return NEXT(fdatasync)(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = NEXT(clock_gettime)(clock, now);

	if (!result && faults && clock == CLOCK_REALTIME)
		now->tv_sec += faults->clock_seconds;
	return result;
}
