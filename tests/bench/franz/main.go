// Counts the records of a topic by franz-go: BROKERS TOPIC PARTITIONS COUNT. With PORT PERMITS behind that it posts them
// by net/http, that many at once: nothing is ordered, retried or committed. Without arguments it says its version.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A semaphore of this many places.
type permits chan struct{}

func post(client *http.Client, url string, record *kgo.Record) {
	request, err := http.NewRequest("POST", url, bytes.NewReader(record.Value))
	if err == nil {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("webhook-id", fmt.Sprintf("%s-%d-%d", record.Topic, record.Partition, record.Offset))
		var answer *http.Response
		if answer, err = client.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			if answer.StatusCode/100 == 2 {
				return
			}
			err = fmt.Errorf("status %d", answer.StatusCode)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func version() {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == "github.com/twmb/franz-go" {
			fmt.Printf("franz-go %s, net/http of %s\n", dependency.Version, runtime.Version())
		}
	}
}

func main() {
	if len(os.Args) < 5 {
		version()
		return
	}
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
	var free permits
	var url string
	transport := &http.Transport{}
	poster := &http.Client{Transport: transport}
	if len(os.Args) == 7 {
		most, _ := strconv.Atoi(os.Args[6])
		free, url = make(permits, most), "http://127.0.0.1:"+os.Args[5]+"/hook"
		transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = most, most
	}
	var posts sync.WaitGroup
	got, size := 0, 0
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
			size += len(record.Value)
			if free != nil {
				free <- struct{}{}
				posts.Add(1)
				go func() {
					post(poster, url, record)
					<-free
					posts.Done()
				}()
			}
		})
	}
	posts.Wait()
	fmt.Printf("bytes %d\nlast\n", size)
	os.Exit(0)
}
