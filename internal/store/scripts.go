package store

import (
	"embed"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var sources embed.FS

var prelude = source("prelude")

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
	permitScript  = redis.NewScript(source("permit"))
	gateScript    = redis.NewScript(source("gate"))
)

func source(name string) string {
	text, err := sources.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic(err) // embedded at build time
	}
	return string(text)
}

func shardScript(name string) *redis.Script {
	return redis.NewScript(prelude + source(name))
}
