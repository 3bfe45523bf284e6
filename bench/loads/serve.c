/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * serve PORT echo|close
 *
 * Accepts connections, says "ready" and its port, which is a free one for 0, once
 * it may be connected to. With "echo" it
 * sends back whatever comes; with "close" it closes each connection at once, so
 * that the side that closes first, and waits in TIME_WAIT, is this one.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256

static int listen_on(int port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) || listen(fd, 4096)) {
		perror("serve");
		exit(1);
	}
	return fd;
}

static int port_of(int fd)
{
	struct sockaddr_in own;
	socklen_t size = sizeof(own);

	return getsockname(fd, (struct sockaddr *)&own, &size) ? 0 : ntohs(own.sin_port);
}

static void accept_all(int listener, int epoll, int echo)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		if (!echo) {
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		event.data.fd = fd;
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event event = { .events = EPOLLIN }, events[EVENTS];
	int listener, epoll, echo, count, i;
	char buffer[65536];
	ssize_t size;

	if (argc != 3)
		return 2;
	echo = !strcmp(argv[2], "echo");
	listener = listen_on(atoi(argv[1]));
	epoll = epoll_create1(0);
	event.data.fd = listener;
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
	printf("ready %d\n", port_of(listener));
	fflush(stdout);
	for (;;) {
		count = epoll_wait(epoll, events, EVENTS, -1);
		for (i = 0; i < count; i++) {
			if (events[i].data.fd == listener) {
				accept_all(listener, epoll, echo);
				continue;
			}
			size = read(events[i].data.fd, buffer, sizeof(buffer));
			if (size <= 0 || write(events[i].data.fd, buffer, size) != size)
				close(events[i].data.fd);
		}
	}
}
