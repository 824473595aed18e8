/** Latencies in nanoseconds. Each thread has one of its own; they are added up when the threads have ended. */
final class Histogram {
    private final long[] buckets = new long[60 * 32];
    private long count;
    private long max;

    void record(long v) {
        buckets[bucketOf(v)]++;
        count++;
        if (v > max) {
            max = v;
        }
    }

    private static int bucketOf(long v) {
        if (v < 32) {
            return (int) v;
        }
        int log = 63 - Long.numberOfLeadingZeros(v);
        return (log - 4) * 32 + (int) (v >> (log - 5) & 31);
    }

    private static long upperEdge(int bucket) {
        return bucket < 32 ? bucket : ((long) (32 + bucket % 32 + 1) << (bucket / 32 - 1)) - 1;
    }

    void add(Histogram from) {
        for (int i = 0; i < buckets.length; i++) {
            buckets[i] += from.buckets[i];
        }
        count += from.count;
        max = Math.max(max, from.max);
    }

    long quantile(double q) {
        long rank = Math.max(1, (long) Math.ceil(q * count)), seen = 0;
        for (int i = 0; i < buckets.length; i++) {
            seen += buckets[i];
            if (seen >= rank) {
                return Math.min(upperEdge(i), max);
            }
        }
        return max;
    }

    long count() {
        return count;
    }

    long max() {
        return max;
    }

    /** Prints NAME_p50 and so on to NAME_max, and all buckets. */
    void print(String name) {
        Output.print(name + "_p50", quantile(0.5), "ns");
        Output.print(name + "_p99", quantile(0.99), "ns");
        Output.print(name + "_p99.9", quantile(0.999), "ns");
        Output.print(name + "_p99.99", quantile(0.9999), "ns");
        Output.print(name + "_max", max, "ns");
        for (int i = 0; i < buckets.length; i++) {
            if (buckets[i] != 0) {
                Output.printBucket(name, upperEdge(i), buckets[i]);
            }
        }
    }
}
