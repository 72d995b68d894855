// Verifies signed requests with the Standard Webhooks library for Go, which takes any bytes.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

type request struct {
	Headers map[string]string
	Body    []byte
	Secrets []string
}

var verified, wrong int

func check(what string, holds bool) {
	if holds {
		verified++
	} else {
		wrong++
		fmt.Println("wrong:", what)
	}
}

func accepts(secret string, body []byte, headers http.Header) bool {
	webhook, err := webhooks.NewWebhook(secret)
	return err == nil && webhook.Verify(body, headers) == nil
}

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	other := "whsec_" + base64.StdEncoding.EncodeToString([]byte("another secret, 24 bytes"))
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for number := 0; lines.Scan(); number++ {
		var sent request
		if err := json.Unmarshal(lines.Bytes(), &sent); err != nil {
			panic(err)
		}
		headers := http.Header{}
		for name, value := range sent.Headers {
			headers.Set(name, value)
		}
		changed := append(append([]byte{}, sent.Body...), 'x')
		for _, secret := range sent.Secrets {
			check(fmt.Sprintf("line %d, signature", number), accepts(secret, sent.Body, headers))
			check(fmt.Sprintf("line %d, changed body", number), !accepts(secret, changed, headers))
		}
		check(fmt.Sprintf("line %d, another secret", number), !accepts(other, sent.Body, headers))
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
	fmt.Printf("%d verified, %d not\n", verified, wrong)
}
