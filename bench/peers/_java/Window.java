import java.util.Arrays;

/** window: a ring of messages, each push of which replaces the oldest; the latency of every push. */
final class Window {
    private static final int MESSAGE = 1024;

    private Window() {}

    static void run() {
        int slots = (int) Main.scaled(200_000, 16), slot = 0;
        long pushes = Main.scaled(5_000_000, 1), checksum = 0;
        byte[][] ring = new byte[slots][];
        Histogram latency = new Histogram();
        long cpu = Machine.cpuNow(), start = System.nanoTime(), last = start;
        for (long i = 0; i < pushes; i++) {
            byte[] message = new byte[MESSAGE];
            Arrays.fill(message, (byte) i);
            ring[slot] = message;
            if (++slot == slots) {
                slot = 0;
            }
            long t = System.nanoTime();
            latency.record(t - last);
            last = t;
        }
        cpu = Machine.cpuNow() - cpu;
        for (byte[] message : ring) {
            checksum = Random.fold(checksum,
                    message == null ? 0 : (message[0] & 255) * 256L + (message[MESSAGE - 1] & 255));
        }
        Output.printSeconds("wall", last - start);
        Output.printSeconds("cpu", cpu);
        latency.print("push");
        Output.printChecksum(checksum);
    }
}
