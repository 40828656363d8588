/* siphash.c - see siphash.h; the one in lib/base/hash.c has fewer rounds, and a key of its own. */
#include "lib/queue/siphash.h"

struct sip {
	uint64_t v0, v1, v2, v3;
};

static uint64_t
rotate(uint64_t word, unsigned bits)
{
	return word << bits | word >> (64 - bits);
}

static void
sip_rounds(struct sip *sip, unsigned count)
{
	while (count-- > 0) {
		sip->v0 += sip->v1;
		sip->v1 = rotate(sip->v1, 13) ^ sip->v0;
		sip->v0 = rotate(sip->v0, 32);
		sip->v2 += sip->v3;
		sip->v3 = rotate(sip->v3, 16) ^ sip->v2;
		sip->v0 += sip->v3;
		sip->v3 = rotate(sip->v3, 21) ^ sip->v0;
		sip->v2 += sip->v1;
		sip->v1 = rotate(sip->v1, 17) ^ sip->v2;
		sip->v2 = rotate(sip->v2, 32);
	}
}

uint64_t
siphash(const uint64_t key[2], struct slice text)
{
	struct sip sip = { key[0] ^ 0x736f6d6570736575ULL, key[1] ^ 0x646f72616e646f6dULL,
		           key[0] ^ 0x6c7967656e657261ULL, key[1] ^ 0x7465646279746573ULL };
	uint64_t   word;
	size_t     at = 0;

	for (;; at += 8) {
		bool is_last = text.length - at < 8;

		word = is_last ? (uint64_t)text.length << 56 : 0;
		memcpy(&word, text.data + at, is_last ? text.length - at : 8);
		sip.v3 ^= word;
		sip_rounds(&sip, 2);
		sip.v0 ^= word;
		if (is_last)
			break;
	}
	sip.v2 ^= 0xff;
	sip_rounds(&sip, 4);
	return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}
