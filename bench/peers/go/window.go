// window: a ring of messages, each push of which replaces the oldest; the latency of every push.

package main

const messageSize = 1024

// fill doubles what it has filled, since copy moves blocks and a loop over bytes does not.
func fill(to []byte, v byte) {
	to[0] = v
	for n := 1; n < len(to); n *= 2 {
		copy(to[n:], to[:n])
	}
}

func runWindow() {
	useProcs(0)
	slots, pushes := scaled(200000, 16), scaled(5000000, 1)
	ring := make([][]byte, slots)
	latency := new(histogram)
	slot, checksum := uint64(0), uint64(0)
	start, cpu := now(), cpuNow()
	last := start
	for i := range pushes {
		message := make([]byte, messageSize)
		fill(message, byte(i))
		ring[slot] = message
		if slot++; slot == slots {
			slot = 0
		}
		t := now()
		latency.record(t - last)
		last = t
	}
	cpu = cpuNow() - cpu
	for _, message := range ring {
		if message == nil {
			checksum = fold(checksum, 0)
		} else {
			checksum = fold(checksum, uint64(message[0])*256+uint64(message[messageSize-1]))
		}
	}
	printSeconds("wall", last-start)
	printSeconds("cpu", cpu)
	printLatency("push", latency)
	printChecksum("", checksum)
}
