/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ping ADDRESS PORT SECONDS
 *
 * One request of 64 octets after the other over one connection, each after the
 * answer to the one before. Prints how many there were, and the median and the
 * 99th percentile of their round trips in ns.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define OCTETS	64
#define TRIPS	(1 << 22)

static unsigned int trips[TRIPS];

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	unsigned int x = *(const unsigned int *)a, y = *(const unsigned int *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	long long end, began, ended;
	char buffer[OCTETS] = { 0 };
	size_t count = 0;

	if (argc != 4)
		return 2;
	to.sin_port = htons(atoi(argv[2]));
	inet_pton(AF_INET, argv[1], &to.sin_addr);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		perror("ping");
		return 1;
	}
	ended = now_ns();
	end = ended + atoll(argv[3]) * 1000000000LL;
	while (ended < end && count < TRIPS) {
		began = ended;
		if (write(fd, buffer, OCTETS) != OCTETS ||
		    recv(fd, buffer, OCTETS, MSG_WAITALL) != OCTETS) {
			perror("ping");
			return 1;
		}
		ended = now_ns();
		trips[count++] = ended - began;
	}
	qsort(trips, count, sizeof(*trips), ascending);
	printf("%zu %u %u\n", count, trips[count / 2], trips[count * 99 / 100]);
	return 0;
}
