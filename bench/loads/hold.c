/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * hold ADDRESS PORT CONNECTIONS
 *
 * Opens so many connections, says "ready", and from then on sends a request over
 * each of them about once a second until its standard input ends.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define OCTETS		64
#define ROUND_US	1000000
#define SLICE		20	/* connections between two pauses */

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct pollfd input = { .fd = 0, .events = POLLIN };
	char buffer[OCTETS] = { 0 };
	int count, *fds, i;

	if (argc != 4)
		return 2;
	to.sin_port = htons(atoi(argv[2]));
	inet_pton(AF_INET, argv[1], &to.sin_addr);
	count = atoi(argv[3]);
	fds = calloc(count, sizeof(*fds));
	for (i = 0; i < count; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
		if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&to, sizeof(to))) {
			perror("hold");
			return 1;
		}
	}
	puts("ready");
	fflush(stdout);
	for (i = 0;; i = (i + 1) % count) {
		if (i % SLICE == 0) {
			usleep((long long)ROUND_US * SLICE / count);
			if (poll(&input, 1, 0))
				return 0;
		}
		if (write(fds[i], buffer, OCTETS) != OCTETS ||
		    recv(fds[i], buffer, OCTETS, MSG_WAITALL) != OCTETS) {
			perror("hold");
			return 1;
		}
	}
}
