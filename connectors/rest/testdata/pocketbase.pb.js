// In pb_hooks: keeps email_sha256 beside the address, for records of any origin.
onRecordCreate(digest, "leads")
onRecordUpdate(digest, "leads")

function digest(e) {
    e.record.set("email_sha256", $security.sha256(e.record.getString("email").trim().toLowerCase()))
    e.next()
}
