package store

import (
	"embed"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var sources embed.FS

var prelude, inbox = source("prelude"), source("inbox")

var (
	createScript  = shardScript("create")
	updateScript  = shardScript("update")
	deleteScript  = shardScript("delete")
	claimScript   = shardScript("claim")
	settleScript  = shardScript("settle")
	refreshScript = shardScript("refresh")
	renewScript   = shardScript("renew")
	sweepScript   = shardScript("sweep")
	replayScript  = shardScript("replay")
	reopenScript  = shardScript("reopen")
	ownScript     = shardScript("own")
	disownScript  = shardScript("disown")
	soonerScript  = shardScript("sooner")

	keepScript     = inboxScript("keep")
	releaseScript  = inboxScript("release")
	dropScript     = inboxScript("drop")
	fetchScript    = inboxScript("fetch")
	postponeScript = inboxScript("postpone")
	resubmitScript = inboxScript("resubmit")

	permitScript = newScript(source("permit"))
	overScript   = newScript(source("over"))
	holdScript   = newScript(source("hold"))
	unlockScript = newScript(source("unlock"))
	gateScript   = newScript(source("gate"))
	countScript  = newScript(source("count"))
	alertScript  = newScript(source("alert"))
	leaseScript  = newScript(source("lease"))
)

func source(name string) string {
	text, err := sources.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic(err) // embedded at build time
	}
	return string(text)
}

// script is a redis.Script whose text can be sent, too.
type script struct {
	*redis.Script
	text string
	name any // its hash, as an argument
}

func newScript(text string) script {
	s := redis.NewScript(text)
	return script{s, text, s.Hash()}
}

func shardScript(name string) script { return newScript(prelude + source(name)) }
func inboxScript(name string) script { return newScript(prelude + inbox + source(name)) }
