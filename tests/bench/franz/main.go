// Counts the records of a topic by franz-go: BROKERS TOPIC PARTITIONS COUNT.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	partitions, _ := strconv.Atoi(os.Args[3])
	count, _ := strconv.Atoi(os.Args[4])
	offsets := map[int32]kgo.Offset{}
	for p := 0; p < partitions; p++ {
		offsets[int32(p)] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Args[1]),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{os.Args[2]: offsets}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	got, bytes := 0, 0
	for got < count {
		fetches := client.PollFetches(context.Background())
		if errs := fetches.Errors(); len(errs) > 0 {
			fmt.Fprintln(os.Stderr, errs)
			os.Exit(1)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if got == 0 {
				fmt.Println("first")
			}
			got++
			bytes += len(record.Value)
		})
	}
	fmt.Printf("bytes %d\nlast\n", bytes)
	os.Exit(0)
}
