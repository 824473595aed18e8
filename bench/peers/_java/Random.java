/** The random numbers and the folding of checksums that all systems share. Shifts are logical. */
final class Random {
    private long state;

    Random(long seed) {
        state = seed;
    }

    static long mix(long x) {
        x = (x ^ (x >>> 30)) * 0xbf58476d1ce4e5b9L;
        x = (x ^ (x >>> 27)) * 0x94d049bb133111ebL;
        return x ^ (x >>> 31);
    }

    long next() {
        state += 0x9e3779b97f4a7c15L;
        return mix(state);
    }

    long below(long n) {
        return (next() >>> 32) * n >>> 32;
    }

    static long fold(long checksum, long v) {
        return checksum * 31 + v;
    }
}
