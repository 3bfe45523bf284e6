/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * storm ADDRESS PORT SECONDS [RATE]
 *
 * Connects, waits for the server to close, closes; 64 at a time, as many as it
 * can or RATE a second. Prints how many connections came to their end, how many
 * failed, and the time it took in ns.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define AT_ONCE 64

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int open_one(int epoll, const struct sockaddr_in *to)
{
	struct epoll_event event = { .events = EPOLLRDHUP };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return 0;
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) && errno != EINPROGRESS) {
		close(fd);
		return 0;
	}
	event.data.fd = fd;
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	return 1;
}

int main(int argc, char **argv)
{
	long long began, now, end, rate, opened = 0, ended = 0, failed = 0;
	struct sockaddr_in to = { .sin_family = AF_INET };
	int epoll = epoll_create1(0), open = 0, count, i;
	struct epoll_event events[AT_ONCE];

	if (argc < 4)
		return 2;
	to.sin_port = htons(atoi(argv[2]));
	inet_pton(AF_INET, argv[1], &to.sin_addr);
	rate = argc > 4 ? atoll(argv[4]) : 0;
	began = now = now_ns();
	end = began + atoll(argv[3]) * 1000000000LL;
	while (now < end || open) {
		while (now < end && open < AT_ONCE &&
		       (!rate || opened < (now - began) * rate / 1000000000LL)) {
			if (!open_one(epoll, &to)) {
				failed++;
				break;
			}
			opened++;
			open++;
		}
		count = epoll_wait(epoll, events, AT_ONCE, rate ? 1 : 100);
		for (i = 0; i < count; i++) {
			if (events[i].events & EPOLLERR)
				failed++;
			else
				ended++;
			close(events[i].data.fd);
			open--;
		}
		now = now_ns();
		if (now > end + 5000000000LL)
			break;
	}
	printf("%lld %lld %lld\n", ended, failed + open, now - began);
	return 0;
}
