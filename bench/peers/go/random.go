// The random numbers and the folding of checksums that all systems share.

package main

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

type generator uint64

func (g *generator) next() uint64 {
	*g += 0x9e3779b97f4a7c15
	return mix(uint64(*g))
}

func (g *generator) below(n uint64) uint64 { return (g.next() >> 32) * n >> 32 }

func fold(checksum, v uint64) uint64 { return checksum*31 + v }
