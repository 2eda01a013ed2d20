package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/ingest"
)

// maxReceived bounds an event that receive prints.
const maxReceived = 1 << 20

func receiveCommand() *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "receive",
		Short: "Be a webhook's receiver: print the events that arrive",
		Long: `Be a webhook's receiver on this machine, to see what a webhook connector sends: each event is printed and answered 204.
Signatures are printed, not checked.`,
		Example: `  leadrelay receive
  leadrelay receive --listen 127.0.0.1:9001`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			listener, err := listen("--listen", address)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "events posted to http://%s/ are printed; Ctrl-C ends it\n", listener.Addr())
			server := ingest.Serving(receiver(out))
			ended := make(chan error, 1)
			go func() { ended <- server.Serve(listener) }()
			select {
			case err := <-ended:
				return err
			case <-cmd.Context().Done():
				return server.Close()
			}
		},
	}
	cmd.Flags().StringVar(&address, "listen", "127.0.0.1:9000", "where to listen")
	return cmd
}

// receiver prints each event, one at a time.
func receiver(out io.Writer) http.Handler {
	var printing sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReceived))
		if err != nil {
			http.Error(w, "the event could not be read whole", http.StatusBadRequest)
			return
		}
		var indented bytes.Buffer
		if json.Indent(&indented, body, "", "  ") != nil {
			indented.Reset()
			fmt.Fprintf(&indented, "%q", body)
		}
		printing.Lock()
		defer printing.Unlock()
		fmt.Fprintf(out, "\n%s %s %s\n", time.Now().Format(time.TimeOnly), r.Method, r.URL.Path)
		for _, name := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"} {
			if value := r.Header.Get(name); value != "" {
				fmt.Fprintf(out, "%s: %s\n", name, value)
			}
		}
		fmt.Fprintln(out, indented.String())
		w.WriteHeader(http.StatusNoContent)
	})
}
