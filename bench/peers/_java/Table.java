/**
 * table: a large table of chains that two threads read and replace nodes in, beside a sleeper and forced collections.
 *
 * <p>Nothing is locked: keys of one parity belong to one worker, and a chain holds keys of one parity.
 */
final class Table {
    private static final long SECOND = 1_000_000_000;
    private static final long TICK = 1_000_000;

    private static volatile boolean stop;

    private final Node[] heads;
    private final int chains;

    private static final class Node {
        Node next;
        final long key;
        final long version;
        final long check;
        long zero0;
        long zero1;
        long zero2;
        long zero3;

        Node(Node next, long key, long version) {
            this.next = next;
            this.key = key;
            this.version = version;
            this.check = checkOf(key, version);
        }
    }

    private static long checkOf(long key, long version) {
        return Random.mix(key + version * 0x9e3779b97f4a7c15L);
    }

    private Table(int chains) {
        this.chains = chains;
        heads = new Node[chains];
        for (long key = 0; key < 4L * chains; key++) {
            int c = (int) key & (chains - 1);
            heads[c] = new Node(heads[c], key, 0);
        }
    }

    private static void wrong(long key) {
        System.err.println(System.getProperty("system") + ": table: node " + key + " is lost or damaged");
        System.exit(1);
    }

    private void operate(long r, long m) {
        long key = (r & (4L * chains - 1) & ~1L) | m;
        int c = (int) key & (chains - 1);
        Node before = null, n = heads[c];
        while (n != null && n.key != key) {
            before = n;
            n = n.next;
        }
        if (n == null || n.check != checkOf(key, n.version)) {
            wrong(key);
            return;
        }
        if (r < 0) {
            Node fresh = new Node(n.next, key, n.version + 1);
            if (before == null) {
                heads[c] = fresh;
            } else {
                before.next = fresh;
            }
        }
    }

    private void work(long m, Histogram latency) {
        Random random = new Random(100 + m);
        long last = System.nanoTime();
        while (!stop) {
            operate(random.next(), m);
            long t = System.nanoTime();
            latency.record(t - last);
            last = t;
        }
    }

    private static void tick(Histogram late) {
        while (!stop) {
            long t = System.nanoTime();
            Main.sleep(TICK);
            late.record(Math.max(0, System.nanoTime() - t - TICK));
        }
    }

    /** Forces a collection one second after the start and ten after each before, while time is left. */
    private static void collect(long end) {
        for (long at = System.nanoTime() + SECOND; at < end; at += 10 * SECOND) {
            Main.sleep(Math.max(0, at - System.nanoTime()));
            System.gc();
        }
    }

    private long verifyAll() {
        long sum = 0;
        for (Node head : heads) {
            for (Node n = head; n != null; n = n.next) {
                if (n.check != checkOf(n.key, n.version)) {
                    wrong(n.key);
                }
                sum += Random.mix(n.key);
            }
        }
        return sum;
    }

    static void run() {
        long start = System.nanoTime();
        Table table = new Table((int) Main.scaled(1 << 24, 1 << 8));
        Output.printSeconds("create", System.nanoTime() - start);

        Histogram[] latency = {new Histogram(), new Histogram()};
        Histogram late = new Histogram();
        long length = Main.seconds(30) * SECOND, cpu = Machine.cpuNow();
        start = System.nanoTime();
        long end = start + length;
        Thread[] others = {Main.start(() -> collect(end)), Main.start(() -> tick(late))};
        Thread[] workers = new Thread[2];
        for (int i = 0; i < 2; i++) {
            int m = i;
            workers[m] = Main.start(() -> table.work(m, latency[m]));
        }
        Main.sleep(Math.max(0, end - System.nanoTime()));
        stop = true;
        for (Thread t : workers) {
            Main.join(t);
        }
        long wall = System.nanoTime() - start;
        cpu = Machine.cpuNow() - cpu;
        for (Thread t : others) {
            Main.join(t);
        }

        latency[0].add(latency[1]);
        Output.print("ops", latency[0].count() / (wall / 1e9), "1/s");
        Output.printSeconds("cpu", cpu);
        latency[0].print("op");
        late.print("tick_late");
        Output.printChecksum(table.verifyAll());
    }
}
