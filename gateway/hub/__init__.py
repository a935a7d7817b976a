"""The hub: an MQTT server on the log.

    socket ─► layers ─► connection ─► session ─► intake ─► inlet ═► the log
    socket ◄─ layers ◄─ connection ◄─ outbox ◄─┬─ routes ◄─ turns ◄─ what is on the disk, or needn't be
                                               └─ feed, group ◄─ tail ◄─ history ◄═ the log

bytes and packets   wire, properties, reasons, packets, decode, encode; stream cuts the one into the others
below MQTT          doors (one listener), layers, tls with certificates, websocket; strangers are those who speak something else
one client          connection has the socket; session the protocol, with happenings for the hub; arrivals is what is in flight
                    from it, outbox what is for it; aliases are short for topics
who may do what     access, with users and their passwords, and rights, the ACL; why explains it
who gets what       broker and routes, between members; subscriptions are taken on and given up; topics are names, filters and
                    trees; retained, shared; turns keep long work from holding up the others
what lasts          sessions come and go, lasting has them as rows; what they are owed from the log: feed for one, group for
                    those who share, backlog while they are away; history is the log as seen from here; replays of the past
everybody           listener is the hub itself; intake and inlet lead to the log; status in figures
bounds              limits, guests by address, burden by weight; refusals are what the operator hears
"""
