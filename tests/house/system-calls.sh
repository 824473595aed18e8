#!/usr/bin/env bash
# Whatever the library asks the system for can be made to fail: a new call without a fault site (os/fault.h) is found
# here. First by what the library links against: each function of the C library is known here as one that cannot fail, or
# as one that can; the latter are called in os/ alone. Then by the text: beside each call of one that can fail stands an
# os_fault_ question, or the call is excused below, with a reason.
set -euo pipefail
export LC_ALL=C

cd "$TRI_SOURCE_DIR"
bad=0
fault() {
    echo "$*"
    bad=1
}

# Do not fail, or only when called wrongly: text, memory, masks of signals, identities, names of addresses (no system call), clocks (clock_gettime and getpid need
# not even enter the kernel), and what ends things.
cannot='abort _exit free mem(chr|cmp|cpy|move|set) str(c?spn|chr|cmp|len|ncmp|ncpy|nlen|rchr|str|tok_r|tol|toll|toul|toull)
qsort getenv getauxval getpid getuid clock_gettime sched_yield close sig(addset|delset|emptyset|fillset|orset|procmask) dladdr
pthread_(sigmask|self|attr_destroy) __sched_cpu(count|free) __errno_location __tls_get_addr'

# Join and detach fail for threads that are not there: a fault of ours. write, open and atexit: fault.c and report.c.
can='mmap munmap madvise mprotect mincore syscall calloc malloc realloc sysconf getrlimit open read write access readlink
getrandom atexit prctl sigaction sigaltstack signal clock_nanosleep setpriority
pthread_(create|atfork|join|detach|getattr_np|attr_(init|setstacksize|getstack)) sched_(getaffinity|setscheduler) __sched_cpualloc'

pattern() { tr -s ' \n' '|' <<<"$1" | sed 's/|$//'; }

# ---- what is linked ----

made_by_tools='_GLOBAL_OFFSET_TABLE_|AnnotateIgnore(Reads|Writes)Begin|__(asan|tsan|ubsan|sanitizer|start_|stop_|popcount|u?div|u?mod|mul|stack_chk|gcov|addtf).*|.*_chk'
own=$("$TRI_NM" --defined-only "$TRI_STATIC_LIBRARY" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u)
wanted=$("$TRI_NM" -A -u "$TRI_STATIC_LIBRARY" 2>/dev/null | awk -F: 'NF >= 3 { sub(/.* /, "", $NF); print $NF, $(NF - 1) }' | sort -u)
[ "$(wc -l <<<"$wanted")" -gt 100 ] || fault "nm shows next to nothing of $TRI_STATIC_LIBRARY"
while read -r name object; do
    if ! grep -qxE "$(pattern "$can")" <<<"$name"; then
        fault "$object calls $name, which tests/house/system-calls.sh does not know: can it fail?"
    elif [ -z "$(find os -name "${object%.o}")" ]; then
        fault "$object calls $name, which can fail: such calls belong in os/, with a fault site"
    fi
done < <(join -v 1 <(sort <<<"$wanted") <(echo "$own") | grep -vE "^($made_by_tools) " | sed 's/^__isoc23_//' |
    grep -vE "^($(pattern "$cannot")) " || true)

# ---- what is written ----

# file, function, reason
excused() {
    cat <<'REASONS'
os/fault.c write           the report of what was reached
os/fault.c open            the report of what was reached
os/fault.c atexit          the report of what was reached
os/memory.c calloc         os_alloc() is a macro that asks, at its caller
os/linux/futex.c syscall   waiting asks at the caller of os_futex_wait(); waking fails for bad addresses alone
os/linux/signal.c signal   SIG_DFL for a signal that has a handler
os/linux/thread.c prctl    a name, and a precision of timers: cosmetic, the result is not looked at
os/linux/thread.c sysconf  _SC_THREAD_STACK_MIN is a constant; not knowing it is provided for
os/linux/thread.c syscall  gettid
os/linux/thread.c pthread_join          fails for threads that are not there
os/linux/thread.c pthread_detach        fails for threads that are not there
os/linux/thread.c pthread_attr_getstack reads what pthread_getattr_np() has found
os/linux/vm.c mmap         map(): its callers ask
os/linux/vm.c munmap       os_unreserve() is a macro that asks, at its caller
os/linux/vm.c mprotect     os_commit() is a macro that asks; os_unreserve_refused() is what is left when all has failed
os/linux/vm.c madvise      os_unreserve_refused() likewise
os/linux/vm.c sysconf      _SC_PAGESIZE
REASONS
}

# Prints "file line function" for each call without a question of its own: on its line, or on one of the four before it and
# not followed by another call yet.
unasked() {
    awk -v functions="$(pattern "$can" | sed 's/__sched_cpualloc/CPU_ALLOC/')" '
        FNR == 1 { asked = -9 }
        {
            line = $0
            sub(/\/\/.*/, "", line)
            if (line ~ /^ *(\*|\/\*|#)/) next
            if (line ~ /os_fault_(error|here|or)\(/) asked = FNR
            rest = line
            while (match(rest, "(^|[^A-Za-z0-9_.>])(" functions ")\\(")) {
                name = substr(rest, RSTART, RLENGTH - 1)
                sub(/^[^A-Za-z_]/, "", name)
                if (FNR - asked > 4) print FILENAME, FNR, name
                asked = -9
                rest = substr(rest, RSTART + RLENGTH)
            }
        }' "$@"
}

mapfile -t sources < <(find os heap barrier gc runtime inspect -name '*.[ch]' | sort)
found=$(unasked "${sources[@]}")
used=
while read -r file line name; do
    if grep -qE "^$file +$name " < <(excused); then
        used+="$file $name"$'\n'
    else
        fault "$file:$line: $name() can fail, and nothing asks os_fault_error() or os_fault_here() before it"
    fi
done <<<"$found"
while read -r file name _; do
    grep -qxF "$file $name" <<<"$used" || fault "tests/house/system-calls.sh excuses $name in $file, which is not there"
done < <(excused)

# ---- the table of sites is that of the sources ----

while read -r site; do
    grep -rqF "\"$site\"" os heap barrier gc runtime inspect || fault "docs/errors.md: no source asks under the name $site"
done < <(grep -o '^| `[a-z_.]*@' docs/errors.md | sed 's/| `//; s/@//' | sort -u)
exit $bad
