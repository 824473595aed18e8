import java.util.Arrays;

/** mark: what it costs to collect a heap in which everything lives. */
final class Mark {
    private static final int COLLECTIONS = 5;

    /** The roots. */
    private static Node graph;
    private static Tree tree;
    private static long made;

    private Mark() {}

    /** Four references, not an array of four: an array would be an object of its own. */
    private static final class Node {
        Node to0;
        Node to1;
        Node to2;
        Node to3;
        final long id;
        long zero0;
        long zero1;
        long zero2;

        Node(long id) {
            this.id = id;
        }

        Node to(int k) {
            switch (k) {
                case 0: return to0;
                case 1: return to1;
                case 2: return to2;
                default: return to3;
            }
        }
    }

    private static final class Tree {
        final Tree left;
        final Tree right;
        final long id;
        long zero;

        Tree(Tree left, Tree right, long id) {
            this.left = left;
            this.right = right;
            this.id = id;
        }
    }

    private static Node makeGraph(int n) {
        Node[] nodes = new Node[n];
        for (int i = 0; i < n; i++) {
            nodes[i] = new Node(i);
        }
        Random random = new Random(42);
        int[] p = new int[n];
        for (int i = 0; i < n; i++) {
            p[i] = i;
        }
        for (int i = n - 1; i > 0; i--) {
            int k = (int) random.below(i), was = p[i];
            p[i] = p[k];
            p[k] = was;
        }
        for (int i = 0; i < n; i++) {
            Node node = nodes[i];
            node.to0 = nodes[p[i]];
            node.to1 = nodes[(int) random.next() & (n - 1)];
            node.to2 = nodes[(int) random.next() & (n - 1)];
            node.to3 = nodes[(int) random.next() & (n - 1)];
        }
        return nodes[0];
    }

    private static long walkGraph(long steps) {
        Random random = new Random(43);
        long checksum = 0;
        Node x = graph;
        for (long i = 0; i < steps; i++) {
            x = x.to((int) random.next() & 3);
            checksum = Random.fold(checksum, x.id);
        }
        return checksum;
    }

    private static Tree makeTree(int depth) {
        Tree left = depth == 0 ? null : makeTree(depth - 1);
        Tree right = depth == 0 ? null : makeTree(depth - 1);
        return new Tree(left, right, made++);
    }

    private static long walkTree(long walks) {
        Random random = new Random(43);
        long checksum = 0;
        for (long i = 0; i < walks; i++) {
            for (Tree x = tree; x != null; x = (random.next() & 1) != 0 ? x.right : x.left) {
                checksum = Random.fold(checksum, x.id);
            }
        }
        return checksum;
    }

    private static void measureCollections(long objects) {
        long[] wall = new long[COLLECTIONS];
        long[] cpu = new long[COLLECTIONS];
        System.gc();
        for (int i = 0; i < COLLECTIONS; i++) {
            long startCpu = Machine.cpuOfThreads(name -> true), start = System.nanoTime();
            System.gc();
            wall[i] = System.nanoTime() - start;
            cpu[i] = Machine.cpuOfThreads(name -> true) - startCpu;
        }
        Arrays.sort(wall);
        Arrays.sort(cpu);
        Output.printSeconds("gc_wall", wall[COLLECTIONS / 2]);
        Output.print("per_object_wall", (double) wall[COLLECTIONS / 2] / objects, "ns");
        Output.print("per_object_cpu", (double) cpu[COLLECTIONS / 2] / objects, "ns");
        Output.print("objects", objects, "count");
    }

    static void runGraph(int log) {
        int n = (int) Main.scaled(1L << log, 1 << 10);
        long start = System.nanoTime();
        graph = makeGraph(n);
        Output.printSeconds("create", System.nanoTime() - start);
        measureCollections(n);
        Output.printChecksum(walkGraph(Main.scaled(1 << 20, 1)));
    }

    static void runTree(int wanted) {
        long start = System.nanoTime();
        tree = makeTree(Math.max(wanted - Main.scale(), 9));
        Output.printSeconds("create", System.nanoTime() - start);
        measureCollections(made);
        Output.printChecksum(walkTree(Main.scaled(1 << 16, 1)));
    }
}
