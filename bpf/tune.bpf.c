/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Changes what a live socket may do: the only program of ours that writes into
 * one, and not part of the collector. It runs when bpf/tuner.py reads it, over
 * the sockets of one network namespace, each of them locked.
 *
 * A wish names its socket by cookie and by both ends. The answer lies in the
 * same element, so that a socket is never changed twice, however often the
 * iterator shows it.
 */

#define TUNE_SOL_SOCKET		1
#define TUNE_SOL_TCP		6
#define TUNE_AF_INET6		10
#define TUNE_LISTEN		10
#define TUNE_CONGESTION_BYTES	16	/* TCP_CA_NAME_MAX */
/* The most that TCP_BPF_SNDCWND_CLAMP takes. */
#define TUNE_SEGMENTS_MAX	0x7fffffff

/* Bits of tune_wish.asked, and places in tune_answer.codes; in the order in which they are set. */
enum tune_option { TUNE_CONGESTION, TUNE_CWND, TUNE_RCVBUF, TUNE_SNDBUF, TUNE_RWIN, TUNE_PACING,
		   TUNE_LOWAT, TUNE_OPTIONS };

enum tune_outcome { TUNE_UNSEEN, TUNE_OTHER_ENDS, TUNE_DONE };

struct tune_ends {
	u32 local_address[4];	/* IPv4 as ::ffff:a.b.c.d */
	u32 rem_address[4];
	u16 local_port;
	u16 rem_port;
};

struct tune_wish {
	struct tune_ends ends;
	u32 asked;
	u32 cwnd;		/* octets */
	u32 rcvbuf;		/* what setsockopt takes: half of what comes of it */
	u32 sndbuf;
	u32 rwin;
	u32 pacing;		/* octets a second */
	u32 lowat;
	char congestion[TUNE_CONGESTION_BYTES];
};

struct tune_state {
	u64 pacing;
	u32 cwnd;		/* segments, as are those of ssthresh */
	u32 ssthresh;
	u32 mss;
	u32 rcvbuf;
	u32 sndbuf;
	u32 rwin;
	u32 lowat;
	u32 locks;
	u32 is_paced;
	char congestion[TUNE_CONGESTION_BYTES];
	u32 padding;
};

struct tune_answer {
	u64 inode;
	u32 outcome;
	s32 codes[TUNE_OPTIONS];
	struct tune_state before;
	struct tune_state after;
};

struct tune_task {
	struct tune_wish wish;
	struct tune_answer answer;
};

BPF_HASH(tasks, u64, struct tune_task, TUNE_TASKS_MAX);

static __always_inline bool tune_has_ends(struct tune_ends *wanted, struct tcp_sock *tp)
{
	struct sock_common *skc = &tp->inet_conn.icsk_inet.sk.__sk_common;
	u32 *local = wanted->local_address, *rem = wanted->rem_address;
	u32 mapped = bpf_htonl(0xffff);

	if (bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport) != wanted->local_port ||
	    bpf_ntohs(skc->skc_dport) != wanted->rem_port)
		return false;
	if (skc->skc_family == TUNE_AF_INET6)
		return local[0] == skc->skc_v6_rcv_saddr.in6_u.u6_addr32[0] &&
		       local[1] == skc->skc_v6_rcv_saddr.in6_u.u6_addr32[1] &&
		       local[2] == skc->skc_v6_rcv_saddr.in6_u.u6_addr32[2] &&
		       local[3] == skc->skc_v6_rcv_saddr.in6_u.u6_addr32[3] &&
		       rem[0] == skc->skc_v6_daddr.in6_u.u6_addr32[0] &&
		       rem[1] == skc->skc_v6_daddr.in6_u.u6_addr32[1] &&
		       rem[2] == skc->skc_v6_daddr.in6_u.u6_addr32[2] &&
		       rem[3] == skc->skc_v6_daddr.in6_u.u6_addr32[3];
	return !local[0] && !local[1] && local[2] == mapped && local[3] == skc->skc_rcv_saddr &&
	       !rem[0] && !rem[1] && rem[2] == mapped && rem[3] == skc->skc_daddr;
}

static __always_inline void tune_look(struct tune_state *s, struct tcp_sock *tp)
{
	struct sock *sk = (struct sock *)tp;

	s->pacing = sk->sk_max_pacing_rate;
	s->cwnd = tp->snd_cwnd_clamp;
	s->ssthresh = tp->snd_ssthresh;
	s->mss = tp->mss_cache;
	s->rcvbuf = sk->sk_rcvbuf;
	s->sndbuf = sk->sk_sndbuf;
	s->rwin = tp->window_clamp;
	s->lowat = tp->notsent_lowat;
	s->locks = sk->sk_userlocks;
	s->is_paced = sk->sk_pacing_status;
	bpf_probe_read_kernel(s->congestion, sizeof(s->congestion),
			      tp->inet_conn.icsk_ca_ops->name);
}

static __always_inline int tune_set(struct tcp_sock *tp, int level, int option, u32 value)
{
	return bpf_setsockopt(tp, level, option, &value, sizeof(value));
}

static __always_inline u32 tune_segments(struct tune_wish *w, struct tcp_sock *tp)
{
	u32 mss = tp->mss_cache;
	u32 segments = mss ? w->cwnd / mss : 0;

	if (w->cwnd == 0xffffffff || segments > TUNE_SEGMENTS_MAX)
		return TUNE_SEGMENTS_MAX;
	return segments ? segments : 1;
}

static __always_inline void tune_apply(struct tune_task *t, struct tcp_sock *tp)
{
	struct tune_wish *w = &t->wish;
	s32 *codes = t->answer.codes;
	u32 asked = w->asked;

	if (asked & 1 << TUNE_CONGESTION)
		codes[TUNE_CONGESTION] = bpf_setsockopt(tp, TUNE_SOL_TCP, 13 /* TCP_CONGESTION */,
							w->congestion, sizeof(w->congestion));
	if (asked & 1 << TUNE_CWND)
		codes[TUNE_CWND] = tune_set(tp, TUNE_SOL_TCP, 1002 /* TCP_BPF_SNDCWND_CLAMP */,
					    tune_segments(w, tp));
	if (asked & 1 << TUNE_RCVBUF)
		codes[TUNE_RCVBUF] = tune_set(tp, TUNE_SOL_SOCKET, 8 /* SO_RCVBUF */, w->rcvbuf);
	if (asked & 1 << TUNE_SNDBUF)
		codes[TUNE_SNDBUF] = tune_set(tp, TUNE_SOL_SOCKET, 7 /* SO_SNDBUF */, w->sndbuf);
	if (asked & 1 << TUNE_RWIN)
		codes[TUNE_RWIN] = tune_set(tp, TUNE_SOL_TCP, 10 /* TCP_WINDOW_CLAMP */, w->rwin);
	if (asked & 1 << TUNE_PACING)
		codes[TUNE_PACING] = tune_set(tp, TUNE_SOL_SOCKET, 47 /* SO_MAX_PACING_RATE */,
					      w->pacing);
	if (asked & 1 << TUNE_LOWAT)
		codes[TUNE_LOWAT] = tune_set(tp, TUNE_SOL_TCP, 25 /* TCP_NOTSENT_LOWAT */,
					     w->lowat);
}

int on_tune(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tune_task *t;
	struct tcp_sock *tp;
	u64 cookie;

	if (!skc)
		return 0;
	cookie = skc->skc_cookie.counter;
	t = tasks.lookup(&cookie);
	if (!t || t->answer.outcome != TUNE_UNSEEN)
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp || skc->skc_state == TUNE_LISTEN)
		return 0;
	if (!tune_has_ends(&t->wish.ends, tp)) {
		t->answer.outcome = TUNE_OTHER_ENDS;
		return 0;
	}
	/* struct socket and its inode are one object; a socket that nobody holds has none. */
	if (((struct sock *)tp)->sk_socket)
		bpf_probe_read_kernel(&t->answer.inode, sizeof(t->answer.inode),
				      (void *)((struct sock *)tp)->sk_socket + TUNE_INODE_OFFSET);
	tune_look(&t->answer.before, tp);
	tune_apply(t, tp);
	tune_look(&t->answer.after, tp);
	t->answer.outcome = TUNE_DONE;
	return 0;
}
