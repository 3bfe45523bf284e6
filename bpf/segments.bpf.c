/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Segments in and out.
 */

/* Before a segment is processed, in ESTABLISHED, under the lock: the state that
 * the event before left behind, at its peak for what an ACK takes away.
 */
int on_tcp_probe(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct sk_buff *skb = (struct sk_buff *)ctx[1];
	struct tcp_skb_cb *cb = (struct tcp_skb_cb *)skb->cb;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct estats_socket *s;

	if (!tp)
		return 0;
	s = estats_meet(sk, tp);
	if (!estats_is_live(s))
		return 0;
	estats_observe(&s->seen, tp);
	s->seen.reasm_max = estats_max(s->seen.reasm_max, estats_reasm(tp));
	/* In order, the segment in hand is queued before anyone can look again. */
	if (cb->seq == tp->rcv_nxt)
		s->seen.rqueue_max = estats_max(s->seen.rqueue_max,
						estats_rqueue(tp, cb->end_seq - (cb->tcp_flags & 1)));
	/* tcp_mstamp is the clock of the last event here: no clock is read for this. */
	if (s->life == ESTATS_LIFE_LIVE && tp->tcp_mstamp - s->flushed_us >= ESTATS_FLUSH_US)
		estats_send(tp, s, &s->seen, 0);
	s->dirty = 1;	/* what this segment is about to change was not in the batch */
	return 0;
}

struct estats_ip {
	u8 ttl;
	u8 tos;
	u32 header;	/* octets before the TCP header */
};

/* The packet says its version; a v4-mapped socket's family does not. IPv6
 * extension headers are not walked: such a packet is not parsed further.
 */
static __always_inline bool estats_parse_ip(struct __sk_buff *skb, struct estats_ip *ip)
{
	u8 *data = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;

	if (data + 40 > end)	/* the shortest IP and TCP headers together */
		return false;
	if (data[0] >> 4 == 4) {
		ip->ttl = data[8];
		ip->tos = data[1];
		ip->header = (data[0] & 15) * 4;
		return data[9] == ESTATS_IPPROTO_TCP;
	}
	ip->ttl = data[7];
	ip->tos = (data[0] & 15) << 4 | data[1] >> 4;
	ip->header = 40;
	return data[6] == ESTATS_IPPROTO_TCP;
}

static __always_inline struct tcphdr *estats_tcp_header(struct __sk_buff *skb, u32 offset)
{
	u8 *data = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;
	struct tcphdr *th;

	if (offset > 60)
		return 0;
	th = (struct tcphdr *)(data + offset);
	return (u8 *)(th + 1) > end ? 0 : th;
}

/* Before the socket's lock and before any validation: facts of the packet only. */
int on_ingress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct estats_socket *s;
	struct estats_ip ip = {};
	struct tcphdr *th;
	u32 headers;

	if (!sk)
		return 1;
	s = sockets.sk_storage_get(sk, 0, 0);
	if (!estats_is_live(s) || !estats_parse_ip(skb, &ip))
		return 1;
	s->seen.ip_ttl = ip.ttl;
	s->seen.ip_tos_in = ip.tos;
	s->seen.ip_in_seen = 1;
	th = estats_tcp_header(skb, ip.header);
	if (!th)
		return 1;
	headers = ip.header + th->doff * 4;
	if (skb->len > headers)
		__sync_fetch_and_add(&s->seen.data_octets_in, skb->len - headers);
	s->dirty = 1;
	return 1;
}

/* The window that goes out and the queue behind it, under the lock. */
int on_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct estats_socket *s;
	struct estats_ip ip = {};
	struct tcp_sock *tp;
	struct tcphdr *th;
	u32 window;

	if (!sk)
		return 1;
	s = sockets.sk_storage_get(sk, 0, 0);
	if (!estats_is_live(s) || !estats_parse_ip(skb, &ip))
		return 1;
	tp = bpf_skc_to_tcp_sock(sk);
	th = estats_tcp_header(skb, ip.header);
	if (!tp || !th)
		return 1;
	s->seen.ip_tos_out = ip.tos;
	s->seen.have |= ESTATS_HAVE_TOS_OUT;
	s->seen.wqueue_max = estats_max(s->seen.wqueue_max, tp->write_seq - tp->snd_nxt);
	if (!th->rst) {
		window = bpf_ntohs(th->window);
		s->seen.rwin_sent = th->syn ? window : window << tp->rx_opt.rcv_wscale;
		s->seen.rwin_sent_max = estats_max(s->seen.rwin_sent_max, s->seen.rwin_sent);
		s->seen.have |= ESTATS_HAVE_RWIN_SENT;
	}
	s->dirty = 1;
	return 1;
}
