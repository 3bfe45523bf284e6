/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Another design, to be measured beside ours: one record in a ring buffer for
 * each variable that a segment changes: 21 for a segment received, 15 for one
 * sent. They are those of ours that move with nearly every segment and that a
 * field of the socket tells; who limits the sender, and whatever else needs a
 * memory of what was before, is left out. Nothing is kept in the kernel.
 */

struct one_record {
	u64 cookie;
	u64 value;
	u32 variable;
	u32 kind;
};

BPF_RINGBUF_OUTPUT(records, 2048);	/* pages */

static inline __attribute__((always_inline)) void one_send(u64 cookie, u32 variable, u32 kind,
							     u64 value)
{
	struct one_record *r = records.ringbuf_reserve(sizeof(*r));

	if (!r)
		return;
	r->cookie = cookie;
	r->value = value;
	r->variable = variable;
	r->kind = kind;
	records.ringbuf_submit(r, 0);
}

int one_received(u64 *ctx)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock((struct sock *)ctx[0]);
	u64 cookie;

	if (!tp)
		return 0;
	cookie = bpf_get_socket_cookie((struct sock *)tp);
	one_send(cookie, 1, 0, tp->segs_in);
	one_send(cookie, 2, 0, tp->data_segs_in);
	one_send(cookie, 3, 0, tp->bytes_received);
	one_send(cookie, 4, 0, tp->bytes_acked);
	one_send(cookie, 5, 0, tp->srtt_us);
	one_send(cookie, 6, 3, tp->srtt_us);
	one_send(cookie, 7, 0, tp->mdev_us);
	one_send(cookie, 8, 0, tp->inet_conn.icsk_rto);
	one_send(cookie, 9, 0, tp->snd_cwnd);
	one_send(cookie, 10, 3, tp->snd_cwnd);
	one_send(cookie, 11, 0, tp->snd_ssthresh);
	one_send(cookie, 12, 0, tp->snd_wnd);
	one_send(cookie, 13, 3, tp->snd_wnd);
	one_send(cookie, 14, 0, tp->snd_una);
	one_send(cookie, 15, 0, tp->rcv_nxt);
	one_send(cookie, 16, 0, tp->snd_nxt - tp->snd_una);
	one_send(cookie, 17, 0, tp->packets_out);
	one_send(cookie, 18, 0, tp->rcv_nxt - tp->copied_seq);
	one_send(cookie, 19, 3, tp->rcv_nxt - tp->copied_seq);
	one_send(cookie, 20, 0, tp->rcv_rtt_est.rtt_us);
	one_send(cookie, 21, 0, bpf_ktime_get_ns());
	return 0;
}

int one_sent(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct tcp_sock *tp;
	u64 cookie;

	if (!sk)
		return 1;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 1;
	cookie = bpf_get_socket_cookie(skb);
	one_send(cookie, 22, 0, tp->segs_out);
	one_send(cookie, 23, 0, tp->data_segs_out);
	one_send(cookie, 24, 0, tp->bytes_sent);
	one_send(cookie, 25, 0, tp->bytes_retrans);
	one_send(cookie, 26, 0, tp->total_retrans);
	one_send(cookie, 27, 0, tp->snd_nxt);
	one_send(cookie, 28, 0, tp->rcv_wnd);
	one_send(cookie, 29, 3, tp->rcv_wnd);
	one_send(cookie, 17, 0, tp->packets_out);
	one_send(cookie, 16, 0, tp->snd_nxt - tp->snd_una);
	one_send(cookie, 30, 3, tp->snd_nxt - tp->snd_una);
	one_send(cookie, 31, 0, tp->write_seq - tp->snd_nxt);
	one_send(cookie, 32, 3, tp->write_seq - tp->snd_nxt);
	one_send(cookie, 33, 3, tp->packets_out);
	one_send(cookie, 21, 0, bpf_ktime_get_ns());
	return 1;
}
