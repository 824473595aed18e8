import java.util.concurrent.CountDownLatch;

/**
 * alloc: objects that die at once.
 *
 * <p>`hide` is a black hole of the compiler (see the script `run`): it has to make the object that is given to it, and
 * cannot know what is in it afterwards, though no code is executed. A store to a field that others see would do that
 * too, but would add the collector's write barrier to what is measured.
 */
final class Alloc {
    private Alloc() {}

    static void hide(Object o) {}

    private interface Churn {
        long run(long m, long n);
    }

    private static final class Flat16 {
        long first, last;
    }

    private static final class Ptrs16 {
        Ptrs16 first;
        long last;
    }

    private static final class Flat64 {
        long first, w1, w2, w3, w4, w5, w6, last;
    }

    private static final class Ptrs64 {
        Ptrs64 first, p1, p2, p3;
        long w4, w5, w6, last;
    }

    private static final class Flat256 {
        long first, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15, w16, w17, w18, w19, w20, w21;
        long w22, w23, w24, w25, w26, w27, w28, w29, w30, last;
    }

    private static final class Ptrs256 {
        Ptrs256 first, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15;
        long w16, w17, w18, w19, w20, w21, w22, w23, w24, w25, w26, w27, w28, w29, w30, last;
    }

    private static final class Flat1024 {
        long first, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15, w16, w17, w18, w19, w20, w21;
        long w22, w23, w24, w25, w26, w27, w28, w29, w30, w31, w32, w33, w34, w35, w36, w37, w38, w39, w40, w41;
        long w42, w43, w44, w45, w46, w47, w48, w49, w50, w51, w52, w53, w54, w55, w56, w57, w58, w59, w60, w61;
        long w62, w63, w64, w65, w66, w67, w68, w69, w70, w71, w72, w73, w74, w75, w76, w77, w78, w79, w80, w81;
        long w82, w83, w84, w85, w86, w87, w88, w89, w90, w91, w92, w93, w94, w95, w96, w97, w98, w99, w100, w101;
        long w102, w103, w104, w105, w106, w107, w108, w109, w110, w111, w112, w113, w114, w115, w116, w117, w118;
        long w119, w120, w121, w122, w123, w124, w125, w126, last;
    }

    private static final class Ptrs1024 {
        Ptrs1024 first, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15, p16, p17, p18, p19, p20;
        Ptrs1024 p21, p22, p23, p24, p25, p26, p27, p28, p29, p30, p31, p32, p33, p34, p35, p36, p37, p38, p39, p40;
        Ptrs1024 p41, p42, p43, p44, p45, p46, p47, p48, p49, p50, p51, p52, p53, p54, p55, p56, p57, p58, p59, p60;
        Ptrs1024 p61, p62, p63;
        long w64, w65, w66, w67, w68, w69, w70, w71, w72, w73, w74, w75, w76, w77, w78, w79, w80, w81, w82, w83;
        long w84, w85, w86, w87, w88, w89, w90, w91, w92, w93, w94, w95, w96, w97, w98, w99, w100, w101, w102, w103;
        long w104, w105, w106, w107, w108, w109, w110, w111, w112, w113, w114, w115, w116, w117, w118, w119, w120;
        long w121, w122, w123, w124, w125, w126, last;
    }

    private static long churnFlat16(long m, long n) {
        long sum = 0;
        for (long i = 0; i < n; i++) {
            Flat16 o = new Flat16();
            o.first = i + m;
            o.last = i + m;
            hide(o);
            sum += o.first + o.last;
        }
        return sum;
    }

    private static long churnPtrs16(long m, long n) {
        long sum = 0;
        Ptrs16 anchor = new Ptrs16();
        for (long i = 0; i < n; i++) {
            Ptrs16 o = new Ptrs16();
            o.first = anchor;
            o.last = i + m;
            hide(o);
            sum += o.last + (o.first == anchor ? 1 : 0);
        }
        return sum;
    }

    private static long churnFlat64(long m, long n) {
        long sum = 0;
        for (long i = 0; i < n; i++) {
            Flat64 o = new Flat64();
            o.first = i + m;
            o.last = i + m;
            hide(o);
            sum += o.first + o.last;
        }
        return sum;
    }

    private static long churnPtrs64(long m, long n) {
        long sum = 0;
        Ptrs64 anchor = new Ptrs64();
        for (long i = 0; i < n; i++) {
            Ptrs64 o = new Ptrs64();
            o.first = anchor;
            o.last = i + m;
            hide(o);
            sum += o.last + (o.first == anchor ? 1 : 0);
        }
        return sum;
    }

    private static long churnFlat256(long m, long n) {
        long sum = 0;
        for (long i = 0; i < n; i++) {
            Flat256 o = new Flat256();
            o.first = i + m;
            o.last = i + m;
            hide(o);
            sum += o.first + o.last;
        }
        return sum;
    }

    private static long churnPtrs256(long m, long n) {
        long sum = 0;
        Ptrs256 anchor = new Ptrs256();
        for (long i = 0; i < n; i++) {
            Ptrs256 o = new Ptrs256();
            o.first = anchor;
            o.last = i + m;
            hide(o);
            sum += o.last + (o.first == anchor ? 1 : 0);
        }
        return sum;
    }

    private static long churnFlat1024(long m, long n) {
        long sum = 0;
        for (long i = 0; i < n; i++) {
            Flat1024 o = new Flat1024();
            o.first = i + m;
            o.last = i + m;
            hide(o);
            sum += o.first + o.last;
        }
        return sum;
    }

    private static long churnPtrs1024(long m, long n) {
        long sum = 0;
        Ptrs1024 anchor = new Ptrs1024();
        for (long i = 0; i < n; i++) {
            Ptrs1024 o = new Ptrs1024();
            o.first = anchor;
            o.last = i + m;
            hide(o);
            sum += o.last + (o.first == anchor ? 1 : 0);
        }
        return sum;
    }

    private static Churn churn(String kind) {
        switch (kind) {
            case "flat.16": return Alloc::churnFlat16;
            case "flat.64": return Alloc::churnFlat64;
            case "flat.256": return Alloc::churnFlat256;
            case "flat.1024": return Alloc::churnFlat1024;
            case "ptrs.16": return Alloc::churnPtrs16;
            case "ptrs.64": return Alloc::churnPtrs64;
            case "ptrs.256": return Alloc::churnPtrs256;
            case "ptrs.1024": return Alloc::churnPtrs1024;
            default: return null;
        }
    }

    private static int logOfObjects(String kind) {
        switch (kind.substring("flat.".length())) {
            case "16": return 26;
            case "64": return 25;
            case "256": return 24;
            default: return 22;
        }
    }

    private static void await(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Takes KIND.SIZE.tT; false if there is none of that name. */
    static boolean run(String name) {
        if (!name.endsWith(".t1") && !name.endsWith(".t2")) {
            return false;
        }
        String kind = name.substring(0, name.length() - ".t1".length());
        Churn churn = churn(kind);
        if (churn == null) {
            return false;
        }
        int mutators = name.charAt(name.length() - 1) - '0';
        long n = Main.scaled(1L << logOfObjects(kind), 1);
        long[] sums = new long[mutators];
        Thread[] threads = new Thread[mutators];
        CountDownLatch warm = new CountDownLatch(mutators), go = new CountDownLatch(1), done = new CountDownLatch(mutators);
        for (int i = 0; i < mutators; i++) {
            int m = i;
            threads[m] = Main.start(() -> {
                churn.run(m, n / 16);
                warm.countDown();
                await(go);
                sums[m] = churn.run(m, n);
                done.countDown();
            });
        }
        await(warm);
        long cpu = Machine.cpuNow(), start = System.nanoTime();
        go.countDown();
        await(done);
        long wall = System.nanoTime() - start;
        cpu = Machine.cpuNow() - cpu;
        long sum = 0;
        for (int m = 0; m < mutators; m++) {
            Main.join(threads[m]);
            sum += sums[m];
        }
        Output.print("alloc", (double) wall / (n * mutators), "ns");
        Output.print("alloc_cpu", (double) cpu / (n * mutators), "ns");
        Output.printChecksum(sum);
        return true;
    }
}
