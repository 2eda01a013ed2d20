package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/leadrelay/leadrelay/internal/console"
)

// minPassword is the least an operator's password may have (https://pages.nist.gov/800-63-4/sp800-63b.html).
const minPassword = 8

func passwordCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "password",
		Short: "Make the hash of an operator's password, for the configuration",
		Long: `Ask for a password, or read it from standard input where that is no terminal, and print what goes under password_hash
of "operators" in the configuration. In a shell or a compose file put the hash in single quotes, for it holds $ signs.`,
		Example: `  leadrelay password
  openssl rand -base64 18 | tee anna.password | leadrelay password`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			password, err := readPassword(cmd)
			if err != nil {
				return err
			}
			if len(password) < minPassword {
				return fmt.Errorf("a password has at least %d characters", minPassword)
			}
			hash, err := console.HashPassword(password)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), hash)
			return nil
		},
	}
}

func readPassword(cmd *cobra.Command) (string, error) {
	file, isFile := cmd.InOrStdin().(*os.File)
	if !isFile || !term.IsTerminal(int(file.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(cmd.ErrOrStderr(), prompt)
		text, err := term.ReadPassword(int(file.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		return string(text), err
	}
	password, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	again, err := ask("Once more: ")
	if err == nil && again != password {
		err = errors.New("these are two different passwords")
	}
	return password, err
}
