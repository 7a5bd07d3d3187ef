// A reverse proxy as Go's standard library gives it, with one HMAC-verified session cookie: what a careful team would write in an afternoon.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
)

func main() {
	listen, upstream, secret := os.Args[1], os.Args[2], []byte(os.Args[3])
	target, err := url.Parse(upstream)
	if err != nil {
		log.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 1024
	transport.MaxIdleConnsPerHost = 1024 // the default of 2 would make it reconnect all the time
	transport.DisableCompression = true
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
			r.Out.Header.Set("X-Isolation-Jwt-Assertion", strings.Repeat("e", 700))
		},
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("session")
		if err != nil {
			http.Error(w, "no session", http.StatusUnauthorized)
			return
		}
		id, signature, _ := strings.Cut(cookie.Value, ".")
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id))
		given, err := hex.DecodeString(signature)
		if err != nil || !hmac.Equal(mac.Sum(nil), given) {
			http.Error(w, "bad session", http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	})
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, handler))
}
