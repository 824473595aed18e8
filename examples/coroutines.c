/* Coroutines: "Go in C". A pipeline that counts words.
 *
 * A reader sends lines, some workers split them into words and count these in maps of their own,
 * and a collector of results merges the maps. Nothing is ever freed; nobody holds a lock. What a
 * worker sends away it does not touch again, so there is nothing to be locked.
 *
 * What to notice: managed objects that others can reach live in the heap and are written with
 * tri_set(); tri_make() needs no barrier, since nobody else can see what it makes.
 */
#include <stdio.h>
#include <string.h>
#include <tricolor/tricolor.h>

#define WORKERS 4
#define BUCKETS 64

static const char *const poem[] = {
    "the lambs play on the hill",
    "the hill is green and the lambs are white",
    "white is the wool and grey is the wolf",
    "the wolf sits on the hill and looks at the lambs",
};
#define ROUNDS 1000

/* ---- a map from words to counts ---------------------------------------------------------------- */

struct entry {
    struct entry *next;
    char *word;
    long count;
};
TRI_TYPE(entry, struct entry, next, word);

struct map {
    struct entry *buckets[BUCKETS];
};
TRI_TYPE(map, struct map, buckets);

static unsigned hash(const char *word)
{
    unsigned h = 5381;
    while (*word)
        h = h * 33 + (unsigned char)*word++;
    return h % BUCKETS;
}

static char *copy(const char *text, size_t length)
{
    char *c = tri_new_array(&tri_bytes, length + 1);
    memcpy(c, text, length);
    return c;
}

static void add(struct map *m, char *word, long count)
{
    struct entry **bucket = &m->buckets[hash(word)];
    for (struct entry *e = *bucket; e; e = e->next) {
        if (strcmp(e->word, word) == 0) {
            e->count += count;
            return;
        }
    }
    tri_set(bucket, tri_make(entry, .next = *bucket, .word = word, .count = count));
}

static void add_words(struct map *m, const char *line)
{
    while (*line) {
        size_t length = strcspn(line, " ");
        add(m, copy(line, length), 1);
        line += length + strspn(line + length, " ");
    }
}

/* ---- the pipeline ------------------------------------------------------------------------------ */

/* What all of them share, an object of the heap like any other. */
struct plant {
    tri_chan *lines; /* of char * */
    tri_chan *maps;  /* of struct map * */
};
TRI_TYPE(plant, struct plant, lines, maps);

static void read_lines(void *arg)
{
    struct plant *p = arg;
    for (int round = 0; round < ROUNDS; round++) {
        const char *text = poem[round % (int)(sizeof poem / sizeof *poem)];
        char *line = copy(text, strlen(text));
        tri_chan_send(p->lines, &line);
    }
    tri_chan_close(p->lines);
}

static void count_words(void *arg)
{
    struct plant *p = arg;
    struct map *m = tri_new(&map);
    char *line;
    while (tri_chan_recv(p->lines, &line))
        add_words(m, line);
    tri_chan_send(p->maps, &m);
}

static void print_words_with(const struct map *m, const char *letters)
{
    for (; *letters; letters++)
        for (int b = 0; b < BUCKETS; b++)
            for (const struct entry *e = m->buckets[b]; e; e = e->next)
                if (e->word[0] == *letters)
                    printf("%5ld %s\n", e->count, e->word);
}

static void run(void *arg)
{
    (void)arg;
    struct plant *p = tri_make(plant, .lines = tri_chan_new(&tri_pointers, 16),
                               .maps = tri_chan_new(&tri_pointers, 0));
    tri_go(read_lines, p);
    for (int i = 0; i < WORKERS; i++)
        tri_go(count_words, p);

    struct map *all = tri_new(&map), *part;
    for (int i = 0; i < WORKERS; i++) {
        tri_chan_recv(p->maps, &part);
        for (int b = 0; b < BUCKETS; b++)
            for (struct entry *e = part->buckets[b]; e; e = e->next)
                add(all, e->word, e->count);
    }
    print_words_with(all, "hp");
}

int main(void)
{
    return tri_run(NULL, run, NULL) ? 1 : 0;
}
