/* Threads with a managed heap: four pthreads count words in a shared table; nothing is freed. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tricolor/tricolor.h>

struct entry {
    struct entry *next;
    char *word;
    long count;
};
TRI_TYPE(entry_type, struct entry, next, word);

#define BUCKETS 64
static struct entry *table[BUCKETS]; /* C memory: registered as a root in main() */
static tri_mutex lock = TRI_MUTEX_INIT;

static void count_word(const char *text)
{
    size_t size = strlen(text) + 1;
    char *word = tri_new_array(&tri_bytes, size);
    memcpy(word, text, size);
    struct entry **bucket = &table[text[0] % BUCKETS];
    tri_mutex_lock(&lock);
    struct entry *e = *bucket;
    while (e && strcmp(e->word, word) != 0)
        e = e->next;
    if (e)
        e->count++;
    else
        tri_set(bucket, tri_make(entry_type, .next = *bucket, .word = word, .count = 1));
    tri_mutex_unlock(&lock);
}

static void *worker(void *arg)
{
    static const char *const words[] = {"black", "grey", "white"};
    tri_heap *heap = arg;
    if (tri_attach(heap))
        abort();
    for (int i = 0; i < 300000; i++)
        count_word(words[i % 3]);
    tri_detach(heap);
    return NULL;
}

int main(void)
{
    tri_heap *heap;
    if (tri_heap_create(NULL, &heap) || tri_root_add(heap, table, BUCKETS))
        return EXIT_FAILURE;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, worker, heap))
            return EXIT_FAILURE;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    if (tri_attach(heap))
        return EXIT_FAILURE;
    for (int i = 0; i < BUCKETS; i++)
        for (struct entry *e = table[i]; e; e = e->next)
            printf("%s %ld\n", e->word, e->count);
    return tri_detach(heap) || tri_heap_destroy(heap) ? EXIT_FAILURE : EXIT_SUCCESS;
}
